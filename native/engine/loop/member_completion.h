// Names one member function as a Completion, so that an object can have several kinds of requests
// on the ring. A member of the object itself: it lives exactly as long as its owner.
#pragma once

#include "engine/loop/loop.h"

namespace weir {

template <typename Owner, void (Owner::*kMethod)(int, uint32_t)>
class MemberCompletion final : public Completion {
 public:
  explicit MemberCompletion(Owner* owner) noexcept : owner_(owner) {}
  MemberCompletion(const MemberCompletion&) = delete;
  MemberCompletion& operator=(const MemberCompletion&) = delete;

  void OnCompletion(int result, uint32_t flags) override { (owner_->*kMethod)(result, flags); }

 private:
  Owner* owner_;
};

}  // namespace weir
