// The little of the NBD protocol that the oracle speaks: fixed newstyle, GO, simple replies.
// All numbers are big-endian on the wire; structs here are laid out as they are sent.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace weir::oracle::nbd {

template <typename T>
[[nodiscard]] constexpr T Big(T value) noexcept {
  if constexpr (std::endian::native == std::endian::big) return value;
  T swapped = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    swapped = static_cast<T>((swapped << 8) | ((value >> (8 * i)) & 0xff));
  }
  return swapped;
}

inline constexpr uint64_t kServerMagic = 0x4e42444d41474943ULL;
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054ULL;
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9ULL;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kReplyMagic = 0x67446698;

inline constexpr uint16_t kServerFixedNewstyle = 1;
inline constexpr uint32_t kClientFixedNewstyleNoZeroes = 3;
inline constexpr uint32_t kOptionGo = 7;
inline constexpr uint32_t kReplyAck = 1;
inline constexpr uint32_t kReplyInfo = 3;
inline constexpr uint32_t kReplyErrorBit = 1U << 31;
inline constexpr uint16_t kInfoExport = 0;

inline constexpr uint16_t kSendsFlush = 1 << 2;
inline constexpr uint16_t kSendsFua = 1 << 3;
inline constexpr uint16_t kSendsTrim = 1 << 5;
inline constexpr uint16_t kSendsWriteZeroes = 1 << 6;

inline constexpr uint16_t kCommandRead = 0;
inline constexpr uint16_t kCommandWrite = 1;
inline constexpr uint16_t kCommandDisconnect = 2;
inline constexpr uint16_t kCommandFlush = 3;
inline constexpr uint16_t kCommandTrim = 4;
inline constexpr uint16_t kCommandWriteZeroes = 6;
inline constexpr uint16_t kFlagFua = 1;

struct [[gnu::packed]] Greeting {
  uint64_t magic;
  uint64_t option_magic;
  uint16_t flags;
};
struct [[gnu::packed]] OptionHeader {
  uint64_t magic;
  uint32_t option;
  uint32_t bytes;
};
struct [[gnu::packed]] OptionReply {
  uint64_t magic;
  uint32_t option;
  uint32_t kind;
  uint32_t bytes;
};
struct [[gnu::packed]] ExportInfo {
  uint16_t kind;
  uint64_t size_bytes;
  uint16_t flags;
};
struct [[gnu::packed]] RequestHeader {
  uint32_t magic;
  uint16_t flags;
  uint16_t command;
  uint64_t cookie;
  uint64_t offset;
  uint32_t bytes;
};
struct [[gnu::packed]] ReplyHeader {
  uint32_t magic;
  uint32_t error;
  uint64_t cookie;
};
static_assert(sizeof(Greeting) == 18 && sizeof(OptionHeader) == 16 && sizeof(OptionReply) == 20);
static_assert(sizeof(ExportInfo) == 12 && sizeof(RequestHeader) == 28 && sizeof(ReplyHeader) == 16);

}  // namespace weir::oracle::nbd
