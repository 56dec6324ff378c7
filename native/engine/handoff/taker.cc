#include "engine/handoff/taker.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/crew.h"
#include "engine/handoff/owners.h"
#include "engine/handoff/volume_taker.h"

namespace weir {
namespace {

using window::Kind;

class Taker {
 public:
  Taker(const WindowOptions& options, const std::vector<TakeVolume>& volumes)
      : options_(options), until_ns_(MonotonicNs() + options.deadline_ns), crew_(volumes.size()) {
    for (const TakeVolume& volume : volumes) {
      volumes_.push_back(std::make_unique<VolumeTaker>(
          VolumeTaker::Options{volume.uid, *volume.server, volume.transport, volume.nbd}));
    }
  }

  TakeOutcome Run();

 private:
  Result<void> Tell(Kind kind, std::string reason);
  Result<HandoffMessage> Receive(window::Message& message);
  Result<void> Meet();
  // Every volume's Frozen, each followed as soon as it is there.
  Result<void> FollowAll();
  Result<void> Claim();
  Result<void> ServeAll();
  void Note(const Result<void>& result);

  const WindowOptions& options_;
  const uint64_t until_ns_;
  std::string refusal_;  // the predecessor's own words
  std::vector<std::unique_ptr<VolumeTaker>> volumes_;
  std::mutex mutex_;  // guards failure_
  Result<void> failure_;
  std::vector<DeviceStall> devices_;
  Crew crew_;  // Last: its jobs use the rest.
};

void Taker::Note(const Result<void>& result) {
  const std::lock_guard lock(mutex_);
  if (failure_.ok() && !result.ok()) failure_ = result;
}

Result<void> Taker::Tell(Kind kind, std::string reason) {
  return options_.socket->Send(
      window::Encode({.kind = kind, .volume = {}, .reason = std::move(reason)}), {}, until_ns_);
}

Result<HandoffMessage> Taker::Receive(window::Message& message) {
  auto received = options_.socket->Receive(until_ns_);
  if (!received.ok()) return received;
  auto decoded = window::Decode(received.value().bytes);
  if (!decoded) return Error{EPROTO, "the other engine sent what is no message of the window"};
  if (decoded->kind == Kind::kKept) {
    refusal_ = decoded->reason;
    return Error{ECANCELED, "the other engine goes on serving"};
  }
  message = std::move(*decoded);
  return received;
}

Result<void> Taker::Meet() {
  if (const auto told = Tell(Kind::kReady, {}); !told.ok()) return told;
  window::Message message;
  const auto received = Receive(message);
  if (!received.ok()) return received.error();
  if (message.kind != Kind::kRest) {
    return Error{EPROTO, "the other engine took its steps out of turn"};
  }
  options_.at_step("prepare");
  crew_.All([this](size_t at) { Note(volumes_[at]->Prepare()); });
  if (!failure_.ok()) return failure_;
  options_.at_step("rested");
  return Tell(Kind::kRested, {});
}

Result<void> Taker::FollowAll() {
  std::vector<bool> seen(volumes_.size());
  Result<void> result;
  for (size_t count = 0; count < volumes_.size() && result.ok(); ++count) {
    window::Message message;
    auto received = Receive(message);
    if (!received.ok()) {
      result = received.error();
      break;
    }
    const Uid uid = window::UidOf(message.volume);
    const auto volume = std::find_if(volumes_.begin(), volumes_.end(),
                                     [&](const auto& one) { return one->uid() == uid; });
    const auto at = static_cast<size_t>(volume - volumes_.begin());
    if (message.kind != Kind::kFrozen || volume == volumes_.end() || seen[at]) {
      result = Error{EPROTO, "the other engine handed over a volume that was not agreed on"};
      break;
    }
    seen[at] = true;
    auto fds = std::make_shared<std::vector<UniqueFd>>(std::move(received.value().fds));
    const auto follow = [this, at, body = message.volume, fds] {
      options_.at_step("follow");
      Note(volumes_[at]->Follow(body, std::move(*fds), until_ns_));
    };
    // The last one here, as nothing else is to be received meanwhile.
    if (count + 1 < volumes_.size()) {
      crew_.Give(at, follow);
    } else {
      follow();
    }
  }
  crew_.Wait();
  return result.ok() ? failure_ : result;
}

Result<void> Taker::Claim() {
  if (MonotonicNs() >= until_ns_) return Error{ETIMEDOUT, "the handoff took too long"};
  options_.at_step("claim");
  const auto claim = ClaimGeneration(options_.owners, options_.generation + 1, options_.identity);
  if (!claim.ok()) return claim.error();
  if (claim.value() == OwnerClaim::kTaken) {
    return Error{ECANCELED, "the other engine took everything back"};
  }
  return {};
}

Result<void> Taker::ServeAll() {
  const uint64_t claimed_ns = MonotonicNs();
  options_.at_step("serve");
  crew_.All([&](size_t at) {
    VolumeTaker& volume = *volumes_[at];
    Note(volume.Serve(claimed_ns));
    // The predecessor only notes it; when it is gone this engine serves all the same.
    (void)options_.socket->Send(
        window::Encode({.kind = Kind::kServing, .volume = volume.body(), .reason = {}}), {},
        until_ns_);
  });
  for (const auto& volume : volumes_) devices_.push_back(StallOf(volume->body()));
  return failure_;
}

TakeOutcome Taker::Run() {
  auto followed = Meet();
  if (followed.ok()) followed = FollowAll();
  if (followed.ok()) followed = Claim();
  if (!followed.ok()) {
    std::string reason = refusal_.empty() ? followed.error().what : refusal_;
    volumes_.clear();  // Lets go of the devices, so that the predecessor gets them at once.
    options_.at_step("refuse");
    (void)Tell(Kind::kRefused, reason);
    return {.kind = TakeOutcome::Kind::kRefused, .reason = std::move(reason), .devices = {}};
  }
  if (const auto served = ServeAll(); !served.ok()) {
    return {.kind = TakeOutcome::Kind::kBroken,
            .reason = served.error().what,
            .devices = std::move(devices_)};
  }
  options_.at_step("taken");
  (void)Tell(Kind::kTaken, {});
  return {.kind = TakeOutcome::Kind::kTaken, .reason = {}, .devices = std::move(devices_)};
}

}  // namespace

TakeOutcome TakeAll(const WindowOptions& options, const std::vector<TakeVolume>& volumes) {
  return Taker(options, volumes).Run();
}

}  // namespace weir
