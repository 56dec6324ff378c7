#include "engine/journal/file_set.h"

#include <algorithm>

#include "engine/base/check.h"

namespace weir::journal {

FileSet::FileSet(const Uid& journal_id, uint32_t file_bytes, size_t slots)
    : journal_id_(journal_id),
      file_bytes_(file_bytes),
      files_(slots),
      numbers_(std::make_unique<std::atomic<uint32_t>[]>(slots)) {
  unmade_.reserve(slots);
  for (JournalFile& file : files_) unmade_.push_back(&file);
  retiring_.reserve(slots);
}

const JournalFile* FileSet::Find(uint32_t number) const noexcept {
  // Relaxed: any slot will do, and the number found in it is what the caller synchronizes with.
  const uint32_t hint = hints_[number % kHints].load(std::memory_order_relaxed);
  if (numbers_[hint].load(std::memory_order_acquire) == number) return &files_[hint];
  for (size_t slot = 0; slot < files_.size(); ++slot) {
    if (numbers_[slot].load(std::memory_order_acquire) == number) return &files_[slot];
  }
  return nullptr;
}

uint64_t FileSet::index_bytes() const noexcept {
  uint64_t total = files_.size() * sizeof(JournalFile);
  for (const JournalFile* file : live_) total += file->entries.capacity() * sizeof(IndexEntry);
  for (const JournalFile* file : spares_) total += file->entries.capacity() * sizeof(IndexEntry);
  for (const JournalFile* file : retiring_) total += file->entries.capacity() * sizeof(IndexEntry);
  return total;
}

JournalFile* FileSet::Appendable(uint32_t bytes) const noexcept {
  if (live_.empty()) return nullptr;
  JournalFile* newest = live_.back();
  return !newest->sealed && newest->HasRoom(bytes, file_bytes_) ? newest : nullptr;
}

bool FileSet::FitsEmpty(uint32_t bytes) const noexcept {
  const uint64_t end = static_cast<uint64_t>(kFileHeaderBytes) + PageUp(bytes);
  return end + FooterBytes(1, 1) <= file_bytes_;
}

JournalFile* FileSet::TakeUnmade() {
  WEIR_CHECK(!unmade_.empty());
  JournalFile* file = unmade_.back();
  unmade_.pop_back();
  return file;
}

void FileSet::AddLive(JournalFile* file) {
  WEIR_CHECK(live_.empty() || live_.back()->number < file->number);
  live_.push_back(file);
  Publish(file, file->number);
}

void FileSet::AddSpare(JournalFile* file) {
  std::erase(retiring_, file);
  spares_.push_back(file);
}

JournalFile* FileSet::Activate(uint64_t seq) {
  WEIR_CHECK(!spares_.empty());
  JournalFile* file = spares_.front();
  spares_.pop_front();
  file->Begin(journal_id_, seq);
  AddLive(file);
  return file;
}

JournalFile* FileSet::RetireOldest() {
  WEIR_CHECK(!live_.empty());
  JournalFile* file = live_.front();
  live_.pop_front();
  retiring_.push_back(file);
  Publish(file, 0);
  return file;
}

void FileSet::Publish(const JournalFile* file, uint32_t number) noexcept {
  const auto slot = static_cast<size_t>(file - files_.data());
  if (number != 0)
    hints_[number % kHints].store(static_cast<uint32_t>(slot), std::memory_order_relaxed);
  numbers_[slot].store(number, std::memory_order_release);
}

}  // namespace weir::journal
