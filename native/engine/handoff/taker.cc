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
#include "engine/handoff/urgent.h"
#include "engine/handoff/volume_taker.h"

namespace weir {
namespace {

using window::Kind;

class Taker {
 public:
  Taker(const WindowOptions& options, const std::vector<TakeVolume>& volumes)
      : options_(options),
        until_ns_(MonotonicNs() + options.deadline_ns),
        claim_(OwnerFile::Write(options.owners, options.identity)),
        crew_(volumes.size()) {
    for (const TakeVolume& volume : volumes) {
      volumes_.push_back(std::make_unique<VolumeTaker>(
          VolumeTaker::Options{volume.uid, *volume.server, volume.transport, volume.nbd}));
    }
    seen_.resize(volumes.size());
  }

  TakeOutcome Run();

 private:
  Result<void> Tell(Kind kind, std::string reason);
  Result<HandoffMessage> Receive(window::Message& message);
  Result<void> Meet();
  // Batch after batch: followed, claimed with the first, served.
  Result<void> TakeEach();
  // Every Frozen of a batch, each followed as soon as it is there; which volumes they are of.
  Result<std::vector<size_t>> FollowBatch();
  // Receives one more; the volume's place.
  Result<size_t> ReceiveFrozen(window::Message& message, std::vector<UniqueFd>& fds);
  Result<void> Claim();
  Result<void> Serve(const std::vector<size_t>& batch);
  void Note(const Result<void>& result);
  // Of those that it serves, in the order of the volumes.
  [[nodiscard]] std::vector<DeviceStall> Devices() const;

  const WindowOptions& options_;
  uint64_t until_ns_;
  Result<OwnerFile> claim_;  // whose error counts when it is wanted
  bool claimed_ = false;
  std::string refusal_;  // the predecessor's own words
  std::vector<std::unique_ptr<VolumeTaker>> volumes_;
  std::vector<bool> seen_;  // whose Frozen was received
  std::mutex mutex_;        // guards failure_
  Result<void> failure_;
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

Result<size_t> Taker::ReceiveFrozen(window::Message& message, std::vector<UniqueFd>& fds) {
  auto received = Receive(message);
  if (!received.ok()) return received.error();
  const Uid uid = window::UidOf(message.volume);
  const auto volume = std::find_if(volumes_.begin(), volumes_.end(),
                                   [&](const auto& one) { return one->uid() == uid; });
  const auto at = static_cast<size_t>(volume - volumes_.begin());
  if (message.kind != Kind::kFrozen || volume == volumes_.end() || seen_[at]) {
    return Error{EPROTO, "the other engine handed over a volume that was not agreed on"};
  }
  seen_[at] = true;
  fds = std::move(received.value().fds);
  return at;
}

Result<std::vector<size_t>> Taker::FollowBatch() {
  std::vector<size_t> batch;
  Result<void> result;
  size_t left = static_cast<size_t>(std::count(seen_.begin(), seen_.end(), false));
  while (left > 0 && result.ok()) {
    window::Message message;
    const auto fds = std::make_shared<std::vector<UniqueFd>>();
    const auto at = ReceiveFrozen(message, *fds);
    if (!at.ok()) {
      result = at.error();
      break;
    }
    if (batch.empty() && message.batch > 0) left = std::min<size_t>(left, message.batch);
    batch.push_back(at.value());
    const auto follow = [this, at = at.value(), body = message.volume, fds] {
      options_.at_step("follow");
      Note(volumes_[at]->Follow(body, std::move(*fds), until_ns_));
    };
    // The last one here, as nothing else is to be received meanwhile.
    if (--left > 0) {
      crew_.Give(at.value(), follow);
    } else {
      follow();
    }
  }
  crew_.Wait();
  if (result.ok()) result = failure_;
  if (!result.ok()) return result.error();
  return batch;
}

Result<void> Taker::TakeEach() {
  size_t served = 0;
  do {
    const auto batch = FollowBatch();
    if (!batch.ok()) return batch.error();
    if (!claimed_) {
      if (const auto claim = Claim(); !claim.ok()) return claim;
    }
    if (const auto result = Serve(batch.value()); !result.ok()) return result;
    served += batch.value().size();
    until_ns_ = MonotonicNs() + options_.deadline_ns;
  } while (served < volumes_.size());
  return {};
}

Result<void> Taker::Claim() {
  if (MonotonicNs() >= until_ns_) return Error{ETIMEDOUT, "the handoff took too long"};
  options_.at_step("claim");
  if (!claim_.ok()) return claim_.error();
  const auto claim = claim_.value().Claim(options_.generation + 1);
  if (!claim.ok()) return claim.error();
  if (claim.value() == OwnerClaim::kTaken) {
    return Error{ECANCELED, "the other engine took everything back"};
  }
  claimed_ = true;
  return {};
}

Result<void> Taker::Serve(const std::vector<size_t>& batch) {
  const uint64_t claimed_ns = MonotonicNs();
  options_.at_step("serve");
  crew_.Some(0, batch.size(), [&](size_t at) {
    VolumeTaker& volume = *volumes_[batch[at]];
    const auto served = volume.Serve(claimed_ns);
    Note(served);
    if (!served.ok()) return;
    // Of the last batch the predecessor only notes it; when it is gone this engine goes on.
    (void)options_.socket->Send(
        window::Encode({.kind = Kind::kServing, .volume = volume.body(), .reason = {}}), {},
        until_ns_);
  });
  return failure_;
}

std::vector<DeviceStall> Taker::Devices() const {
  std::vector<DeviceStall> devices;
  for (const auto& volume : volumes_) {
    if (volume->body().serving_ns > 0) devices.push_back(StallOf(volume->body()));
  }
  return devices;
}

TakeOutcome Taker::Run() {
  auto taken = Meet();
  if (taken.ok()) taken = TakeEach();
  if (taken.ok()) {
    options_.at_step("taken");
    (void)Tell(Kind::kTaken, {});
    crew_.Relax();  // Clearing away would only delay the first answers.
    return {.kind = TakeOutcome::Kind::kTaken, .reason = {}, .devices = Devices()};
  }
  std::string reason = refusal_.empty() ? taken.error().what : refusal_;
  if (claimed_) {
    return {.kind = TakeOutcome::Kind::kBroken, .reason = std::move(reason), .devices = Devices()};
  }
  volumes_.clear();  // Lets go of the devices, so that the predecessor gets them at once.
  options_.at_step("refuse");
  (void)Tell(Kind::kRefused, reason);
  return {.kind = TakeOutcome::Kind::kRefused, .reason = std::move(reason), .devices = {}};
}

}  // namespace

TakeOutcome TakeAll(const WindowOptions& options, const std::vector<TakeVolume>& volumes) {
  TakeOutcome outcome;
  RunUrgently([&] { outcome = Taker(options, volumes).Run(); });
  return outcome;
}

}  // namespace weir
