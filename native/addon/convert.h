// Conversions between JavaScript values and engine types. The TypeScript facade has validated every
// argument; a wrong type here is a bug of ours and ends the process.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"
#include "engine/segment/segment.h"

namespace weir::addon {

// 32 hex digits <-> 16 bytes.
[[nodiscard]] Uid ToUid(const Napi::Value& value);
[[nodiscard]] std::string ToHex(const Uid& uid);
// Numbers that JavaScript holds exactly (below 2^53).
[[nodiscard]] uint64_t ToU64(const Napi::Value& value);
[[nodiscard]] std::string ToText(const Napi::Value& value);
[[nodiscard]] std::span<const std::byte> ToSpan(const Napi::Value& uint8_array);
[[nodiscard]] std::vector<uint32_t> ToU32s(const Napi::Value& uint32_array);
// Hands the bytes' memory over to JavaScript.
[[nodiscard]] Napi::Value FromBytes(Napi::Env env, std::vector<std::byte> bytes);
[[nodiscard]] Napi::Object FromSegmentId(Napi::Env env, const SegmentId& id);
// {errno, what}
[[nodiscard]] Napi::Object FromError(Napi::Env env, const Error& error);

inline Napi::Value FromU64(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

}  // namespace weir::addon
