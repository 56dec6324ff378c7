// Names one member function as a RoundEnd, so that an object can have several places in a round. A
// member of the object itself: it lives exactly as long as its owner.
#pragma once

#include "engine/loop/loop.h"

namespace weir {

template <typename Owner, void (Owner::*kMethod)()>
class MemberRoundEnd final : public RoundEnd {
 public:
  explicit MemberRoundEnd(Owner* owner) noexcept : owner_(owner) {}
  MemberRoundEnd(const MemberRoundEnd&) = delete;
  MemberRoundEnd& operator=(const MemberRoundEnd&) = delete;

  void OnRoundEnd() override { (owner_->*kMethod)(); }

 private:
  Owner* owner_;
};

}  // namespace weir
