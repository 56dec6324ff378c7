// The NBD wire format as far as this server speaks it (fixed newstyle, simple replies), written
// from the protocol document of the NBD project. Everything on the wire is big-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weir::nbd {

inline constexpr uint64_t kServerMagic = 0x4e42444d41474943ULL;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054ULL;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9ULL;
inline constexpr uint32_t kRequestMagic = 0x25609513U;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698U;

inline constexpr uint16_t kHandshakeFixedNewstyle = 1U << 0;
inline constexpr uint16_t kHandshakeNoZeroes = 1U << 1;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
};

enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kErrUnsupported = 0x80000001U,
  kErrInvalid = 0x80000003U,
  kErrUnknownExport = 0x80000006U,
  kErrTooBig = 0x80000009U,
};

inline constexpr uint16_t kInfoExport = 0;
inline constexpr uint16_t kInfoName = 1;
inline constexpr uint16_t kInfoBlockSize = 3;

inline constexpr uint16_t kFlagHasFlags = 1U << 0;
inline constexpr uint16_t kFlagSendFlush = 1U << 2;
inline constexpr uint16_t kFlagSendFua = 1U << 3;
inline constexpr uint16_t kFlagSendTrim = 1U << 5;
inline constexpr uint16_t kFlagSendWriteZeroes = 1U << 6;
inline constexpr uint16_t kFlagCanMultiConn = 1U << 8;
// CAN_MULTI_CONN holds because all connections end in one BlockDevice: a flush on any of them
// covers every write that was answered before, whichever connection it came from.
inline constexpr uint16_t kTransmissionFlags = kFlagHasFlags | kFlagSendFlush | kFlagSendFua |
                                               kFlagSendTrim | kFlagSendWriteZeroes |
                                               kFlagCanMultiConn;

enum class Command : uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kWriteZeroes = 6,
};

inline constexpr uint16_t kCommandFua = 1U << 0;
inline constexpr uint16_t kCommandNoHole = 1U << 1;

// Errors on the wire have values of their own, equal to Linux's for those used here.
inline constexpr uint32_t kErrorIo = 5;
inline constexpr uint32_t kErrorInvalid = 22;
inline constexpr uint32_t kErrorNoSpace = 28;

inline constexpr size_t kGreetingBytes = 18;
inline constexpr size_t kClientFlagsBytes = 4;
inline constexpr size_t kOptionHeaderBytes = 16;
inline constexpr size_t kOptionReplyHeaderBytes = 20;
inline constexpr size_t kExportNameReplyZeroes = 124;
inline constexpr size_t kRequestBytes = 28;
inline constexpr size_t kSimpleReplyBytes = 16;

inline constexpr uint32_t kPayloadBytesMax = 32U << 20;
inline constexpr uint32_t kNameBytesMax = 4096;  // the protocol's own limit for strings

template <typename T>
[[nodiscard]] constexpr T SwapToBig(T value) noexcept {
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
}

template <typename T>
[[nodiscard]] inline T LoadBig(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return SwapToBig(value);
}

template <typename T>
inline void StoreBig(std::byte* to, T value) noexcept {
  value = SwapToBig(value);
  std::memcpy(to, &value, sizeof(value));
}

struct Request {
  uint32_t magic = 0;
  uint16_t flags = 0;
  uint16_t command = 0;
  uint64_t cookie = 0;
  uint64_t offset_bytes = 0;
  uint32_t length_bytes = 0;
};

[[nodiscard]] inline Request DecodeRequest(const std::byte* from) noexcept {
  return Request{LoadBig<uint32_t>(from),      LoadBig<uint16_t>(from + 4),
                 LoadBig<uint16_t>(from + 6),  LoadBig<uint64_t>(from + 8),
                 LoadBig<uint64_t>(from + 16), LoadBig<uint32_t>(from + 24)};
}

inline void EncodeRequest(std::byte* to, const Request& request) noexcept {
  StoreBig<uint32_t>(to, request.magic);
  StoreBig<uint16_t>(to + 4, request.flags);
  StoreBig<uint16_t>(to + 6, request.command);
  StoreBig<uint64_t>(to + 8, request.cookie);
  StoreBig<uint64_t>(to + 16, request.offset_bytes);
  StoreBig<uint32_t>(to + 24, request.length_bytes);
}

inline void EncodeSimpleReply(std::byte* to, uint32_t error, uint64_t cookie) noexcept {
  StoreBig<uint32_t>(to, kSimpleReplyMagic);
  StoreBig<uint32_t>(to + 4, error);
  StoreBig<uint64_t>(to + 8, cookie);
}

}  // namespace weir::nbd
