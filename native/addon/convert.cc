#include "addon/convert.h"

#include <cctype>
#include <utility>

#include "engine/base/check.h"

namespace weir::addon {
namespace {

uint8_t Nibble(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<uint8_t>(digit - '0');
  WEIR_CHECK(digit >= 'a' && digit <= 'f');
  return static_cast<uint8_t>(digit - 'a' + 10);
}

}  // namespace

Uid ToUid(const Napi::Value& value) {
  const std::string hex = ToText(value);
  WEIR_CHECK(hex.size() == 32);
  Uid uid;
  for (size_t i = 0; i < 16; ++i) {
    uid.bytes[i] = static_cast<std::byte>((Nibble(hex[2 * i]) << 4) | Nibble(hex[2 * i + 1]));
  }
  return uid;
}

std::string ToHex(const Uid& uid) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(32);
  for (const std::byte byte : uid.bytes) {
    hex.push_back(kDigits[std::to_integer<unsigned>(byte) >> 4]);
    hex.push_back(kDigits[std::to_integer<unsigned>(byte) & 15U]);
  }
  return hex;
}

uint64_t ToU64(const Napi::Value& value) {
  WEIR_CHECK(value.IsNumber());
  const double number = value.As<Napi::Number>().DoubleValue();
  WEIR_CHECK(number >= 0 && number <= 9007199254740991.0);
  return static_cast<uint64_t>(number);
}

std::string ToText(const Napi::Value& value) {
  WEIR_CHECK(value.IsString());
  return value.As<Napi::String>().Utf8Value();
}

std::span<const std::byte> ToSpan(const Napi::Value& uint8_array) {
  WEIR_CHECK(uint8_array.IsTypedArray());
  const auto array = uint8_array.As<Napi::Uint8Array>();
  return {reinterpret_cast<const std::byte*>(array.Data()), array.ByteLength()};
}

std::vector<uint32_t> ToU32s(const Napi::Value& uint32_array) {
  WEIR_CHECK(uint32_array.IsTypedArray());
  const auto array = uint32_array.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Value FromBytes(Napi::Env env, std::vector<std::byte> bytes) {
  auto* owned = new std::vector<std::byte>(std::move(bytes));
  return Napi::Buffer<uint8_t>::NewOrCopy(
      env, reinterpret_cast<uint8_t*>(owned->data()), owned->size(),
      [](Napi::BasicEnv, uint8_t*, std::vector<std::byte>* hint) { delete hint; }, owned);
}

Napi::Object FromSegmentId(Napi::Env env, const SegmentId& id) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("volume", ToHex(id.volume));
  object.Set("epoch", FromU64(env, id.epoch));
  object.Set("seq", FromU64(env, id.seq));
  return object;
}

Napi::Object FromError(Napi::Env env, const Error& error) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("errno", Napi::Number::New(env, error.code));
  object.Set("what", error.what);
  return object;
}

}  // namespace weir::addon
