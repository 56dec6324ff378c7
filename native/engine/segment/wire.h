// Little-endian loads and stores: every number in an object or in a cache record goes through
// these. The caller has checked that the bytes are there.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "engine/base/types.h"

namespace weir::wire {

static_assert(std::endian::native == std::endian::little, "big-endian hosts need byte swaps here");

template <typename T>
[[nodiscard]] inline T Load(const std::byte* at) noexcept {
  static_assert(std::is_unsigned_v<T>);
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <typename T>
inline void Store(std::byte* at, std::type_identity_t<T> value) noexcept {
  static_assert(std::is_unsigned_v<T>);
  std::memcpy(at, &value, sizeof(T));
}

[[nodiscard]] inline Uid LoadUid(const std::byte* at) noexcept {
  Uid uid;
  std::memcpy(uid.bytes.data(), at, uid.bytes.size());
  return uid;
}

inline void StoreUid(std::byte* at, const Uid& uid) noexcept {
  std::memcpy(at, uid.bytes.data(), uid.bytes.size());
}

// {uid[16], u64 epoch, u64 seq}: how every format writes a segment id.
inline constexpr uint32_t kSegmentIdBytes = 32;

[[nodiscard]] inline SegmentId LoadSegmentId(const std::byte* at) noexcept {
  return SegmentId{LoadUid(at), Load<uint64_t>(at + 16), Load<uint64_t>(at + 24)};
}

inline void StoreSegmentId(std::byte* at, const SegmentId& id) noexcept {
  StoreUid(at, id.volume);
  Store<uint64_t>(at + 16, id.epoch);
  Store<uint64_t>(at + 24, id.seq);
}

}  // namespace weir::wire
