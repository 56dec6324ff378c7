// Writing JSON.
#include "oracle/json_line.h"

#include <array>
#include <cstdio>

namespace weir::oracle {
namespace {

std::string Quoted(std::string_view value) {
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + '"';
}

}  // namespace

void JsonLine::Name(std::string_view name) {
  text_ += text_.empty() ? "{" : ",";
  text_ += Quoted(name) + ":";
}

JsonLine& JsonLine::Number(std::string_view name, uint64_t value) {
  return Raw(name, std::to_string(value));
}

JsonLine& JsonLine::Decimal(std::string_view name, double value) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%.3f", value);
  return Raw(name, text.data());
}

JsonLine& JsonLine::Text(std::string_view name, std::string_view value) {
  return Raw(name, Quoted(value));
}

JsonLine& JsonLine::Bool(std::string_view name, bool value) {
  return Raw(name, value ? "true" : "false");
}

JsonLine& JsonLine::Raw(std::string_view name, std::string_view json) {
  Name(name);
  text_ += json;
  return *this;
}

}  // namespace weir::oracle
