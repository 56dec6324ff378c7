// A callable that the caller of a function lends it for the time of the call: two pointers, no copy
// and no allocation, unlike std::function. Not for keeping.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace weir {

template <typename Signature>
class FunctionRef;

template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  FunctionRef() = default;  // none
  // Implicit: whoever calls just writes a lambda.
  template <typename F>
  requires(!std::same_as<F, FunctionRef> && std::is_invocable_r_v<R, const F&, Args...>)
      FunctionRef(const F& callable)
  noexcept
      : object_(std::addressof(callable)), call_([](const void* object, Args... args) -> R {
          return (*static_cast<const F*>(object))(std::forward<Args>(args)...);
        }) {}

  explicit operator bool() const noexcept { return call_ != nullptr; }
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  const void* object_ = nullptr;
  R (*call_)(const void*, Args...) = nullptr;
};

}  // namespace weir
