// One JSON object on one line, written member by member.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::oracle {

class JsonLine {
 public:
  JsonLine& Number(std::string_view name, uint64_t value);
  JsonLine& Decimal(std::string_view name, double value);  // three digits behind the point
  JsonLine& Text(std::string_view name, std::string_view value);
  JsonLine& Bool(std::string_view name, bool value);
  // `json` is already JSON.
  JsonLine& Raw(std::string_view name, std::string_view json);
  [[nodiscard]] std::string Done() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  void Name(std::string_view name);
  std::string text_;
};

}  // namespace weir::oracle
