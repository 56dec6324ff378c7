// The journal's bytes on disk (JOURNAL.md has the same as tables): little-endian, every structure
// with its own CRC32C, every checksum bound to the journal and the file it was written for.
//
// Invariant: a (journal, file number, lap) triple is written at most once per byte, so bytes that
//   verify under its seed were appended by exactly one writer at exactly this place.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "engine/base/types.h"
#include "engine/journal/journal.h"

namespace weir::journal {

static_assert(std::endian::native == std::endian::little, "the formats are little-endian");

inline constexpr uint32_t kPageBytes = 4096;
inline constexpr uint32_t kFileHeaderBytes = kPageBytes;
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kRecordAlign = 8;
inline constexpr uint32_t kRecordMagic = 0x4c4a5257;          // "WRJL"
inline constexpr uint64_t kFileMagic = 0x314c4e4a52494557;    // "WEIRJNL1"
inline constexpr uint64_t kFooterMagic = 0x3158494a52494557;  // "WEIRJIX1"
inline constexpr uint64_t kMetaMagic = 0x3154454d52494557;    // "WEIRMET1"
inline constexpr uint64_t kMarkMagic = 0x314b524d52494557;    // "WEIRMRK1"
inline constexpr uint8_t kLapRecord = 4;  // beside RecordType: a new writer goes on behind it

// Starts every record; 8-byte aligned in its file.
struct RecordHeader {
  uint32_t magic = kRecordMagic;
  uint8_t type = 0;  // RecordType or kLapRecord
  uint8_t flags = 0;
  uint16_t reserved0 = 0;
  uint64_t seq = 0;          // kLapRecord: that of the record to come
  uint64_t start_block = 0;  // kLapRecord: the new lap
  uint32_t block_count = 0;
  uint32_t lap = 0;         // that this header was written under
  uint64_t epoch = 0;       // the writer's
  uint64_t synced_seq = 0;  // records up to this one were durable when this one was written
  uint32_t seed = 0;        // LapSeed(): ties the header to journal, file and lap
  uint32_t reserved1 = 0;
  uint32_t reserved2 = 0;
  uint32_t crc = 0;  // of the bytes before
};
static_assert(sizeof(RecordHeader) == 64 && std::is_trivially_copyable_v<RecordHeader>);

// In front of every data block.
struct BlockPrefix {
  uint32_t sum = 0;  // BlockSum()
  uint32_t block_low = 0;
};
static_assert(sizeof(BlockPrefix) == 8);
static_assert(kJournalBlockStride == sizeof(BlockPrefix) + kBlockBytes);

// At offset 0 of a file from its first record on; the rest of the page is zero.
struct FileHeader {
  uint64_t magic = kFileMagic;
  uint32_t version = kFormatVersion;
  uint32_t number = 0;
  Uid journal_id;
  Uid volume;
  uint64_t first_seq = 0;
  uint32_t file_bytes = 0;
  uint32_t crc = 0;
};
static_assert(sizeof(FileHeader) == 64);

// One record as memory and footer keep it.
struct IndexEntry {
  uint64_t start_block = 0;
  uint32_t block_count = 0;
  uint32_t place = 0;  // offset of the record header | RecordType (offsets are multiples of 8)

  [[nodiscard]] uint32_t offset() const noexcept { return place & ~7U; }
  [[nodiscard]] RecordType type() const noexcept { return static_cast<RecordType>(place & 7U); }
};
static_assert(sizeof(IndexEntry) == 16);

// From `offset` on the records of a file were written under `lap`.
struct LapEntry {
  uint32_t offset = 0;
  uint32_t lap = 0;
};
static_assert(sizeof(LapEntry) == 8);

// In the last page of a sealed file; its table (entries, then laps) ends where this page begins.
struct FooterHeader {
  uint64_t magic = kFooterMagic;
  uint32_t version = kFormatVersion;
  uint32_t number = 0;
  uint64_t first_seq = 0;
  uint32_t entry_count = 0;
  uint32_t lap_count = 0;
  uint32_t end_offset = 0;  // end of the last record
  uint32_t table_crc = 0;
  uint64_t reserved = 0;
  Uid journal_id;  // binds the crc to the journal
  uint32_t reserved1 = 0;
  uint32_t crc = 0;
};
static_assert(sizeof(FooterHeader) == 72);

// The whole of `meta`: identity, never rewritten.
struct Meta {
  uint64_t magic = kMetaMagic;
  uint32_t version = kFormatVersion;
  uint32_t file_bytes = 0;
  Uid journal_id;
  Uid volume;
  uint64_t base_epoch = 0;
  uint64_t base_seq = 0;
  uint64_t base_record_seq = 0;
  uint32_t reserved = 0;
  uint32_t crc = 0;
};
static_assert(sizeof(Meta) == 80);

// `mark` holds two of these, a page apart, written in turn: the valid one of the higher revision
// counts, so that a torn or rotten page costs at most the newest evidence.
struct Mark {
  uint64_t magic = kMarkMagic;
  uint32_t version = kFormatVersion;
  uint32_t reserved = 0;
  uint64_t revision = 0;
  Uid journal_id;
  uint64_t floor_seq = 0;   // records up to this one are stable and their files may be gone
  uint64_t synced_seq = 0;  // records up to this one are durable (evidence; may lag)
  uint64_t closed_seq = 0;  // the writer closed behind this record; 0: it may have gone on
  uint32_t reserved1 = 0;
  uint32_t crc = 0;
};
static_assert(sizeof(Mark) == 72);

// Seals any of the structures above: `crc` is their last field and covers what precedes it.
template <typename T>
[[nodiscard]] uint32_t StructCrc(const T& value) noexcept;
template <typename T>
void SealStruct(T& value) noexcept {
  value.crc = StructCrc(value);
}
// The structure at the head of `bytes`; nothing if too short or its checksum does not match.
template <typename T>
[[nodiscard]] std::optional<T> Parse(std::span<const std::byte> bytes) noexcept;

// Checksum state every block and record of one lap of one file starts from.
[[nodiscard]] uint32_t LapSeed(const Uid& journal_id, uint32_t file_number, uint32_t lap) noexcept;
// Not a CRC: every byte of a volume passes here twice, and xxHash is fast also where the CPU's CRC
// instructions are emulated (per 4 KiB: 0.6 us against 5; where they are real, 0.18 us against
// 0.07).
[[nodiscard]] uint32_t BlockSum(uint32_t seed, uint64_t block, const std::byte* data) noexcept;
// True when `prefix` and `data` are what was appended for `block` under `seed`.
[[nodiscard]] bool BlockVerifies(const BlockPrefix& prefix, uint32_t seed, uint64_t block,
                                 const std::byte* data) noexcept;

// Bytes a record of `data_blocks` blocks takes (0: header only).
[[nodiscard]] constexpr uint32_t RecordBytes(uint32_t data_blocks) noexcept {
  return static_cast<uint32_t>(sizeof(RecordHeader)) + data_blocks * kJournalBlockStride;
}
[[nodiscard]] constexpr uint32_t PageUp(uint32_t offset) noexcept {
  return (offset + kPageBytes - 1) & ~(kPageBytes - 1);
}
[[nodiscard]] constexpr uint32_t PageDown(uint32_t offset) noexcept {
  return offset & ~(kPageBytes - 1);
}
// Bytes at a file's end that a footer of that many entries needs, whole pages.
[[nodiscard]] constexpr uint64_t FooterBytes(uint64_t entries, uint64_t laps) noexcept {
  const uint64_t table = entries * sizeof(IndexEntry) + laps * sizeof(LapEntry);
  return (table + kPageBytes - 1) / kPageBytes * kPageBytes + kPageBytes;
}

template <typename T>
[[nodiscard]] std::span<const std::byte> BytesOf(const T& value) noexcept {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

}  // namespace weir::journal
