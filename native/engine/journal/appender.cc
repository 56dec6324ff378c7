#include "engine/journal/appender.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/journal/prepare.h"

namespace weir::journal {
namespace {

// Whole pages; small enough to stay in a core's second-level cache.
constexpr size_t kGatherBytes = 256U << 10;

}  // namespace

Appender::Appender(JournalDisk& disk, FileSet& files, const Uid& volume, uint64_t epoch)
    : disk_(disk), files_(files), volume_(volume), epoch_(epoch), gather_(kGatherBytes) {}

void Appender::Begin(uint64_t tail_seq) {
  next_seq_ = tail_seq + 1;
  committed_seq_ = tail_seq;
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
    files_.live().back()->written_to = kAllWritten;
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
      {.file = file, .data = data, .meta = meta_used_, .blocks = blocks, .offset = file->end});
  std::byte* const meta = AddMeta(sizeof(header) + blocks * sizeof(BlockPrefix));
  std::memcpy(meta, &header, sizeof(header));
  if (data != nullptr) SumBlocks(header, data, meta + sizeof(header));
  file->entries.push_back({header.start_block, header.block_count, file->end | header.type});
  file->end += bytes;
  return file->RecordAt(file->entries.size() - 1);
}

void Appender::SumBlocks(const RecordHeader& header, const std::byte* data, std::byte* prefixes) {
  for (uint32_t i = 0; i < header.block_count; ++i) {
    const uint64_t block = header.start_block + i;
    const BlockPrefix prefix{
        .sum = BlockSum(header.seed, block, data + static_cast<size_t>(i) * kBlockBytes),
        .block_low = static_cast<uint32_t>(block)};
    std::memcpy(prefixes + i * sizeof(prefix), &prefix, sizeof(prefix));
  }
}

std::byte* Appender::AddMeta(size_t bytes) {
  const size_t at = meta_used_;
  meta_used_ += bytes;
  if (meta_used_ > meta_.size()) meta_.resize(2 * meta_used_);
  return meta_.data() + at;
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
  meta_used_ = 0;
  committed_seq_ = next_seq_ - 1;
  return {};
}

Result<void> Appender::CommitFile(std::span<const Staged> records) {
  JournalFile& file = *records.front().file;
  const uint32_t first = records.front().offset;
  const uint32_t end = records.back().offset + RecordBytes(records.back().blocks);
  const bool begins_file = first == kFileHeaderBytes && file.laps.size() == 1;
  gather_fd_ = file.fd.get();
  gather_offset_ = begins_file ? 0 : first;
  gathered_ = 0;
  gather_limit_ = gather_.size() - (first - PageDown(first));
  gather_result_ = {};
  if (begins_file) GatherFileHeader(file);
  for (const Staged& record : records) GatherRecord(record);
  // There is room: what is gathered ends with a page at the latest.
  const uint32_t rest = PageUp(end) - end;
  std::memset(gather_.data() + gathered_, 0, rest);
  gathered_ += rest;
  PutGathered();
  return gather_result_.ok() ? ZeroAhead(file, PageUp(end)) : gather_result_;
}

// The sync of a first write into reserved space has to commit metadata of the file system as well.
// Once somebody syncs, a piece behind the records is written with zeros, so that this happens once
// per piece and not for every sync. Who only appends is not slowed by it.
Result<void> Appender::ZeroAhead(JournalFile& file, uint32_t end) {
  if (end <= file.written_to) return {};
  file.written_to = end;
  if (!synced_ || end == files_.file_bytes()) return {};
  synced_ = false;
  const uint32_t bytes = std::min(kZerosBytesMax, files_.file_bytes() - end);
  file.written_to = end + bytes;
  return WriteZeros(disk_, file.fd.get(), end, bytes);
}

void Appender::GatherFileHeader(const JournalFile& file) {
  FileHeader header;
  header.number = file.number;
  header.journal_id = files_.journal_id();
  header.volume = volume_;
  header.first_seq = file.first_seq;
  header.file_bytes = files_.file_bytes();
  SealStruct(header);
  std::memset(gather_.data(), 0, kFileHeaderBytes);
  std::memcpy(gather_.data(), &header, sizeof(header));
  gathered_ = kFileHeaderBytes;
}

void Appender::GatherRecord(const Staged& record) {
  const std::byte* meta = meta_.data() + record.meta;
  GatherFixed<sizeof(RecordHeader)>(meta);
  meta += sizeof(RecordHeader);
  for (uint32_t i = 0; i < record.blocks; ++i, meta += sizeof(BlockPrefix)) {
    GatherFixed<sizeof(BlockPrefix)>(meta);
    GatherFixed<kBlockBytes>(record.data + static_cast<size_t>(i) * kBlockBytes);
  }
}

// A length known to the compiler spares the C library's choice of a copy by length, which falls on
// an instruction that emulators do byte by byte (measured: 6 us a block against 0.9).
template <size_t kBytes>
void Appender::GatherFixed(const std::byte* data) {
  if (gather_limit_ - gathered_ < kBytes) {
    Gather(data, kBytes);
    return;
  }
  std::memcpy(gather_.data() + gathered_, data, kBytes);
  gathered_ += kBytes;
}

void Appender::Gather(const std::byte* data, size_t bytes) {
  while (bytes > 0) {
    if (gathered_ == gather_limit_) PutGathered();
    const size_t take = std::min(bytes, gather_limit_ - gathered_);
    std::memcpy(gather_.data() + gathered_, data, take);
    gathered_ += take;
    data += take;
    bytes -= take;
  }
}

// Writes what was gathered, up to a page's end. After an error nothing more is written.
void Appender::PutGathered() {
  if (gather_result_.ok()) {
    gather_result_ =
        WriteAt(disk_, gather_fd_, std::span(gather_).first(gathered_), gather_offset_);
  }
  gather_offset_ += gathered_;
  gathered_ = 0;
  gather_limit_ = gather_.size();
}

uint64_t Appender::memory_bytes() const noexcept {
  return meta_.capacity() + staged_.capacity() * sizeof(Staged) + gather_.capacity();
}

}  // namespace weir::journal
