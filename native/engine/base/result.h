// Result<T>: a value or an Error. The engine throws nothing; every fallible call returns one of
// these.
#pragma once

#include <utility>
#include <variant>

#include "engine/base/check.h"

namespace weir {

// What failed, without allocation. `code` is a positive errno; `what` is a string literal that
// reads as the beginning of a sentence ("cannot preallocate the journal file").
struct Error {
  int code = 0;
  const char* what = "";
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}       // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, error) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  [[nodiscard]] T& value() noexcept {
    WEIR_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] const T& value() const noexcept {
    WEIR_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  [[nodiscard]] Error error() const noexcept {
    WEIR_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Result<void>: success carries nothing.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error), failed_(true) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const noexcept { return !failed_; }
  [[nodiscard]] Error error() const noexcept {
    WEIR_CHECK(failed_);
    return error_;
  }

 private:
  Error error_{};
  bool failed_ = false;
};

}  // namespace weir
