#include "engine/journal/appender.h"

#include <algorithm>
#include <climits>
#include <cstring>

#include "engine/base/check.h"

namespace weir::journal {
namespace {

alignas(kPageBytes) constinit std::array<std::byte, kPageBytes> zero_page{};

iovec PartOf(const std::byte* data, size_t bytes) {
  return {const_cast<std::byte*>(data), bytes};  // pwritev only reads
}

}  // namespace

Appender::Appender(JournalDisk& disk, FileSet& files, const Uid& volume, uint64_t epoch)
    : disk_(disk), files_(files), volume_(volume), epoch_(epoch) {}

void Appender::Begin(uint64_t tail_seq, std::span<const std::byte> tail_page) {
  next_seq_ = tail_seq + 1;
  committed_seq_ = tail_seq;
  std::copy(tail_page.begin(), tail_page.end(), tails_[tail_].begin());
}

bool Appender::CanStage(uint32_t data_blocks) const noexcept {
  const uint32_t bytes = RecordBytes(data_blocks);
  return files_.Appendable(bytes) != nullptr ||
         (files_.spare_count() > 0 && files_.FitsEmpty(bytes));
}

// The file with room for a record of `bytes`; closes the newest one and takes a spare if need be.
JournalFile* Appender::FileFor(uint32_t bytes) {
  if (JournalFile* newest = files_.Appendable(bytes)) return newest;
  WEIR_CHECK(files_.FitsEmpty(bytes));
  if (!files_.live().empty() && !files_.live().back()->sealed) {
    files_.live().back()->sealed = true;
    full_.push_back(files_.live().back());
  }
  return files_.Activate(next_seq_);
}

JournalRecord Appender::Stage(RecordHeader header, const std::byte* data, uint64_t synced_seq) {
  const uint32_t blocks = data != nullptr ? header.block_count : 0;
  const uint32_t bytes = RecordBytes(blocks);
  JournalFile* const file = FileFor(bytes);
  header.seq = next_seq_++;
  header.lap = file->laps.back().lap;
  header.seed = file->laps.back().seed;
  header.epoch = epoch_;
  header.synced_seq = synced_seq;
  SealStruct(header);
  staged_.push_back(
      {.file = file, .data = data, .meta = meta_.size(), .blocks = blocks, .offset = file->end});
  const auto head = BytesOf(header);
  meta_.insert(meta_.end(), head.begin(), head.end());
  if (data != nullptr) StageBlocks(header, data);
  file->entries.push_back({header.start_block, header.block_count, file->end | header.type});
  file->end += bytes;
  return file->RecordAt(file->entries.size() - 1);
}

void Appender::StageBlocks(const RecordHeader& header, const std::byte* data) {
  for (uint32_t i = 0; i < header.block_count; ++i) {
    const uint64_t block = header.start_block + i;
    const BlockPrefix prefix{
        .crc = BlockCrc(header.seed, block, data + static_cast<size_t>(i) * kBlockBytes),
        .block_low = static_cast<uint32_t>(block)};
    const auto bytes = BytesOf(prefix);
    meta_.insert(meta_.end(), bytes.begin(), bytes.end());
  }
}

Result<void> Appender::Commit() {
  std::span<const Staged> rest = staged_;
  while (!rest.empty()) {
    size_t count = 1;
    while (count < rest.size() && rest[count].file == rest[0].file) ++count;
    if (const auto written = CommitFile(rest.first(count)); !written.ok()) return written;
    rest = rest.subspan(count);
  }
  staged_.clear();
  meta_.clear();
  committed_seq_ = next_seq_ - 1;
  return {};
}

Result<void> Appender::CommitFile(std::span<const Staged> records) {
  const JournalFile& file = *records.front().file;
  const uint32_t first = records.front().offset;
  const uint32_t end = records.back().offset + RecordBytes(records.back().blocks);
  parts_.clear();
  const bool begins_file = first == kFileHeaderBytes && file.laps.size() == 1;
  GatherHead(file, first);
  for (const Staged& record : records) GatherRecord(record);
  KeepTail(end);
  if (PageUp(end) > end) parts_.push_back(PartOf(zero_page.data(), PageUp(end) - end));
  return WriteParts(file.fd.get(), begins_file ? 0 : PageDown(first));
}

// What lies between the write's first page boundary and its first record: the header page of a new
// file, or the bytes that the last page already holds.
void Appender::GatherHead(const JournalFile& file, uint32_t first_offset) {
  if (first_offset == kFileHeaderBytes && file.laps.size() == 1) {
    FileHeader header;
    header.number = file.number;
    header.journal_id = files_.journal_id();
    header.volume = volume_;
    header.first_seq = file.first_seq;
    header.file_bytes = files_.file_bytes();
    SealStruct(header);
    std::memcpy(file_header_.data(), &header, sizeof(header));
    parts_.push_back(PartOf(file_header_.data(), file_header_.size()));
    return;
  }
  const uint32_t held = first_offset - PageDown(first_offset);
  if (held > 0) parts_.push_back(PartOf(tails_[tail_].data(), held));
}

void Appender::GatherRecord(const Staged& record) {
  const std::byte* meta = meta_.data() + record.meta;
  if (record.data == nullptr) {
    parts_.push_back(PartOf(meta, sizeof(RecordHeader)));
    return;
  }
  // The header and the first block's prefix lie together in meta_ as they do in the file.
  size_t bytes = sizeof(RecordHeader) + sizeof(BlockPrefix);
  for (uint32_t i = 0; i < record.blocks; ++i) {
    parts_.push_back(PartOf(meta, bytes));
    parts_.push_back(PartOf(record.data + static_cast<size_t>(i) * kBlockBytes, kBlockBytes));
    meta += bytes;
    bytes = sizeof(BlockPrefix);
  }
}

// Copies the bytes of the page in which `end` lies from the back of the gathered parts.
void Appender::KeepTail(uint32_t end) {
  size_t left = end - PageDown(end);
  std::array<std::byte, kPageBytes>& next = tails_[1 - tail_];
  for (size_t i = parts_.size(); left > 0;) {
    const iovec& part = parts_[--i];
    const size_t take = std::min(left, part.iov_len);
    std::memcpy(next.data() + left - take,
                static_cast<const std::byte*>(part.iov_base) + part.iov_len - take, take);
    left -= take;
  }
  tail_ = 1 - tail_;
}

// One write, or several of whole pages when there are more parts than one call takes.
Result<void> Appender::WriteParts(int fd, uint64_t offset) {
  std::span<iovec> rest = parts_;
  while (rest.size() > IOV_MAX) {
    size_t bytes = 0;
    for (const iovec& part : rest.first(IOV_MAX)) bytes += part.iov_len;
    size_t cut = bytes % kPageBytes;  // belongs to the next call
    const size_t whole = bytes - cut;
    size_t last = IOV_MAX;
    while (cut >= rest[last - 1].iov_len) cut -= rest[--last].iov_len;
    iovec& split = rest[last - 1];
    const iovec tail = {static_cast<std::byte*>(split.iov_base) + split.iov_len - cut, cut};
    split.iov_len -= cut;
    const auto put = disk_.Write(fd, rest.first(last), offset);
    if (!put.ok()) return put;
    offset += whole;
    rest = rest.subspan(cut > 0 ? last - 1 : last);
    if (cut > 0) rest.front() = tail;
  }
  return disk_.Write(fd, rest, offset);
}

uint64_t Appender::memory_bytes() const noexcept {
  return meta_.capacity() + staged_.capacity() * sizeof(Staged) + parts_.capacity() * sizeof(iovec);
}

}  // namespace weir::journal
