#include "engine/journal/scan.h"

#include <algorithm>
#include <cstring>

namespace weir::journal {
namespace {

std::optional<RecordHeader> ParseRecord(std::span<const std::byte> bytes, const Uid& journal_id,
                                        uint32_t number) {
  const auto header = Parse<RecordHeader>(bytes);
  if (!header || header->seed != LapSeed(journal_id, number, header->lap)) return std::nullopt;
  return header;
}

bool ShapeIsValid(const RecordHeader& header) {
  switch (header.type) {
    case static_cast<uint8_t>(RecordType::kWrite):
      return header.block_count >= 1 && header.block_count <= kJournalRecordBlocksMax;
    case static_cast<uint8_t>(RecordType::kZeroes):
    case static_cast<uint8_t>(RecordType::kResize):
      return true;
    case kLapRecord:
      return header.start_block > header.lap && header.start_block <= UINT32_MAX;
    default:
      return false;
  }
}

bool DataVerifies(const RecordHeader& header, std::span<const std::byte> blocks) {
  for (uint32_t i = 0; i < header.block_count; ++i) {
    const std::byte* at = blocks.data() + static_cast<size_t>(i) * kJournalBlockStride;
    BlockPrefix prefix;
    std::memcpy(&prefix, at, sizeof(prefix));
    if (!BlockVerifies(prefix, header.seed, header.start_block + i, at + sizeof(prefix)))
      return false;
  }
  return true;
}

}  // namespace

Result<void> ScanRecords(FileWindow& window, const Uid& journal_id, uint32_t file_bytes,
                         JournalFile& file) {
  file.Begin(journal_id, file.first_seq);
  return ScanOn(window, journal_id, file_bytes, file);
}

Result<void> ScanOn(FileWindow& window, const Uid& journal_id, uint32_t file_bytes,
                    JournalFile& file) {
  while (file.end + sizeof(RecordHeader) <= file_bytes) {
    const auto head = window.At(file.end, sizeof(RecordHeader));
    if (!head.ok()) return head.error();
    const auto header = ParseRecord(head.value(), journal_id, file.number);
    if (!header || header->lap != file.laps.back().lap || header->seq != file.next_seq() ||
        !ShapeIsValid(*header)) {
      break;
    }
    if (header->type == kLapRecord) {
      const auto lap = static_cast<uint32_t>(header->start_block);
      file.end += RecordBytes(0);
      file.laps.push_back({file.end, lap, LapSeed(journal_id, file.number, lap)});
      continue;
    }
    const bool data = header->type == static_cast<uint8_t>(RecordType::kWrite);
    const uint32_t bytes = RecordBytes(data ? header->block_count : 0);
    if (bytes > file_bytes - file.end) break;
    if (data) {
      const auto blocks = window.At(file.end + sizeof(RecordHeader), bytes - sizeof(RecordHeader));
      if (!blocks.ok()) return blocks.error();
      if (!DataVerifies(*header, blocks.value())) break;
    }
    file.entries.push_back({header->start_block, header->block_count, file.end | header->type});
    file.end += bytes;
  }
  return {};
}

Result<Proof> SearchProof(FileWindow& window, const Uid& journal_id, uint32_t number, uint32_t from,
                          uint32_t file_bytes) {
  constexpr uint32_t kStep = 64U << 10;
  Proof proof;
  for (uint32_t begin = PageDown(from); begin < file_bytes; begin += kStep) {
    // A header may straddle two steps.
    const uint32_t bytes = std::min<uint32_t>(kStep, file_bytes - begin);
    const auto part = window.At(begin, bytes + sizeof(RecordHeader));
    if (!part.ok()) return part.error();
    const std::span<const std::byte> view = part.value();
    for (uint32_t at = begin < from ? from - begin : 0; at < bytes; at += kRecordAlign) {
      uint32_t magic = 0;
      std::memcpy(&magic, view.data() + at, sizeof(magic));
      if (magic != kRecordMagic) continue;
      const auto header = ParseRecord(view.subspan(at, sizeof(RecordHeader)), journal_id, number);
      if (header) proof.Add({header->synced_seq, header->type == kLapRecord ? 0 : header->seq});
    }
  }
  return proof;
}

Result<bool> FirstRecordVerifies(FileWindow& window, const Uid& journal_id, uint32_t number) {
  const auto head = window.At(kFileHeaderBytes, sizeof(RecordHeader));
  if (!head.ok()) return head.error();
  return ParseRecord(head.value(), journal_id, number).has_value();
}

}  // namespace weir::journal
