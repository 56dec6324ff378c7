#include "engine/journal/journal_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "engine/base/crc32c.h"

namespace weir::journal {
namespace {

constexpr uint64_t MagicOf(const FileHeader&) { return kFileMagic; }
constexpr uint64_t MagicOf(const FooterHeader&) { return kFooterMagic; }
constexpr uint64_t MagicOf(const Meta&) { return kMetaMagic; }
constexpr uint64_t MagicOf(const Mark&) { return kMarkMagic; }
constexpr uint32_t MagicOf(const RecordHeader&) { return kRecordMagic; }

template <typename T>
bool VersionKnown(const T& value) {
  return value.version == kFormatVersion;
}
template <>
bool VersionKnown(const RecordHeader& value) {
  return value.flags == 0;
}

}  // namespace

template <typename T>
uint32_t StructCrc(const T& value) noexcept {
  return Crc32c(BytesOf(value).first(offsetof(T, crc)));
}

template <typename T>
std::optional<T> Parse(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  if (value.magic != MagicOf(value) || value.crc != StructCrc(value)) return std::nullopt;
  if (!VersionKnown(value)) return std::nullopt;
  return value;
}

template uint32_t StructCrc(const RecordHeader&) noexcept;
template uint32_t StructCrc(const FileHeader&) noexcept;
template uint32_t StructCrc(const FooterHeader&) noexcept;
template uint32_t StructCrc(const Meta&) noexcept;
template uint32_t StructCrc(const Mark&) noexcept;
template std::optional<RecordHeader> Parse(std::span<const std::byte>) noexcept;
template std::optional<FileHeader> Parse(std::span<const std::byte>) noexcept;
template std::optional<FooterHeader> Parse(std::span<const std::byte>) noexcept;
template std::optional<Meta> Parse(std::span<const std::byte>) noexcept;
template std::optional<Mark> Parse(std::span<const std::byte>) noexcept;

uint32_t LapSeed(const Uid& journal_id, uint32_t file_number, uint32_t lap) noexcept {
  uint32_t crc = Crc32c(journal_id.bytes);
  crc = Crc32cExtend(crc, BytesOf(file_number));
  return Crc32cExtend(crc, BytesOf(lap));
}

uint32_t BlockSum(uint32_t seed, uint64_t block, const std::byte* data) noexcept {
  constexpr uint64_t kSpread = 0x9e37'79b9'7f4a'7c15;  // 2^64 / golden ratio, odd
  return static_cast<uint32_t>(XXH64(data, kBlockBytes, (seed * kSpread) ^ block));
}

bool BlockVerifies(const BlockPrefix& prefix, uint32_t seed, uint64_t block,
                   const std::byte* data) noexcept {
  return prefix.block_low == static_cast<uint32_t>(block) &&
         prefix.sum == BlockSum(seed, block, data);
}

}  // namespace weir::journal
