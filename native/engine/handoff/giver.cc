#include "engine/handoff/giver.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/crew.h"
#include "engine/handoff/owners.h"
#include "engine/handoff/rcu_guard.h"
#include "engine/handoff/urgent.h"
#include "engine/handoff/volume_giver.h"

namespace weir {
namespace {

using window::Kind;

class Giver {
 public:
  Giver(const WindowOptions& options, const std::vector<GiveVolume>& volumes)
      : options_(options),
        until_ns_(MonotonicNs() + options.deadline_ns),
        crew_(volumes.size()),
        rcu_(RcuKeeper(options.owners)) {
    for (const GiveVolume& volume : volumes) {
      volumes_.push_back(std::make_unique<VolumeGiver>(volume.uid, *volume.server));
    }
  }

  GiveOutcome Run();

 private:
  // The next message, which has to be `wanted`.
  Result<window::Message> Expect(Kind wanted);
  Result<void> Tell(Kind kind, std::string reason);
  // Runs `step` for volumes [from, to) at once; the first error.
  Result<void> ForEach(size_t from, size_t to,
                       const std::function<Result<void>(VolumeGiver&)>& step);
  Result<void> ForAll(const std::function<Result<void>(VolumeGiver&)>& step) {
    return ForEach(0, volumes_.size(), step);
  }
  Result<void> Meet();
  Result<void> Hand();
  Result<void> HandBatch(size_t from, size_t to, uint32_t batch);
  // What the other engine says next of its progress; kServing has been noted.
  Result<Kind> Hear(uint64_t until_ns);
  Result<void> AwaitServing(size_t count);
  Result<void> AwaitTaken(uint64_t until_ns);
  [[nodiscard]] bool AllSent() const;
  GiveOutcome Keep(std::string reason, bool frozen);
  GiveOutcome Given();
  GiveOutcome Lost(std::string reason);

  const WindowOptions& options_;
  uint64_t until_ns_;
  std::vector<std::unique_ptr<VolumeGiver>> volumes_;
  Crew crew_;
  RcuGuard rcu_;
  std::string refusal_;  // the other engine's own words
  std::vector<DeviceStall> devices_;
};

Result<void> Giver::Tell(Kind kind, std::string reason) {
  return options_.socket->Send(
      window::Encode({.kind = kind, .volume = {}, .reason = std::move(reason)}), {}, until_ns_);
}

Result<window::Message> Giver::Expect(Kind wanted) {
  auto received = options_.socket->Receive(until_ns_);
  if (!received.ok()) return received.error();
  auto message = window::Decode(received.value().bytes);
  if (!message) return Error{EPROTO, "the other engine sent what is no message of the window"};
  if (message->kind == Kind::kRefused) {
    refusal_ = message->reason;
    return Error{ECANCELED, "the other engine refused"};
  }
  if (message->kind != wanted) return Error{EPROTO, "the other engine took its steps out of turn"};
  return std::move(*message);
}

Result<void> Giver::ForEach(size_t from, size_t to,
                            const std::function<Result<void>(VolumeGiver&)>& step) {
  std::mutex mutex;
  Result<void> first;
  crew_.Some(from, to, [&](size_t at) {
    const Result<void> result = step(*volumes_[at]);
    const std::lock_guard lock(mutex);
    if (first.ok() && !result.ok()) first = result;
  });
  return first;
}

// Up to here nothing stalls.
Result<void> Giver::Meet() {
  if (const auto ready = Expect(Kind::kReady); !ready.ok()) return ready.error();
  const auto rested = ForAll([&](VolumeGiver& volume) { return volume.Rest(until_ns_); });
  if (!rested.ok()) return rested;
  options_.at_step("rest");
  if (const auto told = Tell(Kind::kRest, {}); !told.ok()) return told;
  if (const auto known = Expect(Kind::kRested); !known.ok()) return known.error();
  return {};
}

Result<void> Giver::Hand() {
  rcu_.Expedite();
  const size_t batch = options_.batch == 0 ? volumes_.size() : options_.batch;
  for (size_t from = 0; from < volumes_.size();) {
    const size_t to = std::min(from + batch, volumes_.size());
    const auto sent =
        HandBatch(from, to, static_cast<uint32_t>(options_.batch == 0 ? 0 : to - from));
    if (!sent.ok()) return sent;
    // After the last one it is the end that is waited for.
    if (to == volumes_.size()) return {};
    if (const auto served = AwaitServing(to); !served.ok()) return served;
    from = to;
    until_ns_ = MonotonicNs() + options_.deadline_ns;
  }
  return {};
}

Result<void> Giver::HandBatch(size_t from, size_t to, uint32_t batch) {
  options_.at_step("freeze");
  return ForEach(from, to, [&](VolumeGiver& volume) -> Result<void> {
    if (const auto frozen = volume.Freeze(until_ns_); !frozen.ok()) return frozen;
    options_.at_step("leave");
    if (const auto left = volume.Leave(until_ns_); !left.ok()) return left;
    options_.at_step("send");
    return volume.Send(*options_.socket, batch, until_ns_);
  });
}

Result<Kind> Giver::Hear(uint64_t until_ns) {
  auto received = options_.socket->Receive(until_ns);
  if (!received.ok()) return received.error();
  const auto message = window::Decode(received.value().bytes);
  if (!message) return Error{EPROTO, "the other engine sent what is no message of the window"};
  switch (message->kind) {
    case Kind::kServing:
      devices_.push_back(StallOf(message->volume));
      return message->kind;
    case Kind::kTaken:
      return message->kind;
    case Kind::kRefused:
      refusal_ = message->reason;
      return Error{ECANCELED, "the other engine refused"};
    default:
      return Error{EPROTO, "the other engine took its steps out of turn"};
  }
}

Result<void> Giver::AwaitServing(size_t count) {
  while (devices_.size() < count) {
    const auto heard = Hear(until_ns_);
    if (!heard.ok()) return heard.error();
    if (heard.value() != Kind::kServing) {
      return Error{EPROTO, "the other engine took its steps out of turn"};
    }
  }
  return {};
}

Result<void> Giver::AwaitTaken(uint64_t until_ns) {
  for (;;) {
    const auto heard = Hear(until_ns);
    if (!heard.ok()) return heard.error();
    if (heard.value() == Kind::kTaken) return {};
  }
}

bool Giver::AllSent() const {
  return std::all_of(volumes_.begin(), volumes_.end(),
                     [](const auto& volume) { return volume->sent(); });
}

GiveOutcome Giver::Given() {
  crew_.Relax();  // The other engine answers what has waited.
  for (const auto& volume : volumes_) volume->LetGo();
  return {.kind = GiveOutcome::Kind::kGiven,
          .reason = {},
          .generation = options_.generation + 1,
          .devices = std::move(devices_),
          .lost = {}};
}

// What was sent is the other engine's, dead or alive. The rest has never been anybody else's.
GiveOutcome Giver::Lost(std::string reason) {
  GiveOutcome outcome{.kind = GiveOutcome::Kind::kLost,
                      .reason = std::move(reason),
                      .generation = options_.generation + 1,
                      .devices = std::move(devices_),
                      .lost = {}};
  (void)Tell(Kind::kKept, outcome.reason);
  for (const auto& volume : volumes_) {
    // A device that cannot be had again is recovered with those that were sent.
    if (volume->sent() || !volume->Revive().ok()) {
      volume->LetGo();
      outcome.lost.push_back(volume->uid());
    }
  }
  return outcome;
}

GiveOutcome Giver::Keep(std::string reason, bool frozen) {
  uint64_t generation = options_.generation;
  if (frozen) {
    options_.at_step("claim");
    const auto claim = ClaimGeneration(options_.owners, generation + 1, options_.identity);
    const bool mine = claim.ok() && claim.value() == OwnerClaim::kMine;
    // It claims before it serves anything, and what was not sent it can not take.
    const bool theirs = claim.ok() ? !mine : !devices_.empty();
    if (theirs && !AllSent()) return Lost(std::move(reason));
    if (!mine) {
      // The other engine owns everything by now and may still be at its last steps; or, when the
      // folder cannot be written, only its own word or its end tells that it never will.
      const auto taken = AwaitTaken(MonotonicNs() + options_.deadline_ns);
      if (taken.ok()) return Given();
      const bool ended = taken.error().code == ECANCELED || taken.error().code == ECONNRESET;
      if (claim.ok() || !ended || GenerationIsClaimed(options_.owners, generation + 1)) {
        return Lost(std::move(reason));
      }
      reason += "; and the folder of owners cannot be written";
    } else {
      ++generation;
    }
  }
  (void)Tell(Kind::kKept, reason);
  options_.at_step("revive");
  const auto revived = ForAll([](VolumeGiver& volume) { return volume.Revive(); });
  if (!revived.ok()) reason += std::string("; then: ") + revived.error().what;
  return {.kind = GiveOutcome::Kind::kKept,
          .reason = std::move(reason),
          .generation = generation,
          .devices = std::move(devices_),
          .lost = {}};
}

GiveOutcome Giver::Run() {
  const auto because = [this](const Result<void>& result) {
    return refusal_.empty() ? std::string(result.error().what) : refusal_;
  };
  if (const auto met = Meet(); !met.ok()) return Keep(because(met), false);
  auto given = Hand();
  if (given.ok()) given = AwaitTaken(until_ns_);
  return given.ok() ? Given() : Keep(because(given), true);
}

}  // namespace

size_t BatchOfThisMachine() { return std::max<size_t>(std::thread::hardware_concurrency() / 2, 1); }

GiveOutcome GiveAll(const WindowOptions& options, const std::vector<GiveVolume>& volumes) {
  GiveOutcome outcome;
  RunUrgently([&] { outcome = Giver(options, volumes).Run(); });
  return outcome;
}

}  // namespace weir
