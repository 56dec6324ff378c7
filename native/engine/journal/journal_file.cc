#include "engine/journal/journal_file.h"

#include <charconv>

namespace weir::journal {
namespace {

constexpr size_t kDigits = 8;
constexpr std::string_view kSuffix = ".jnl";

}  // namespace

std::string FileName(uint32_t number) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string name(kDigits, '0');
  for (size_t i = kDigits; i-- > 0; number >>= 4) name[i] = kHex[number & 15U];
  return name.append(kSuffix);
}

std::optional<uint32_t> ParseFileName(std::string_view name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  uint32_t number = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + kDigits, number, 16);
  if (code != std::errc{} || end != name.data() + kDigits || number == 0) return std::nullopt;
  if (FileName(number) != name) return std::nullopt;
  return number;
}

}  // namespace weir::journal
