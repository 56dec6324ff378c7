#include "engine/volume/ublk_transport.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "engine/base/monotonic_clock.h"
#include "engine/ublk/ublk_char_device.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/ublk/ublk_settle.h"
#include "engine/ublk/ublk_unscanned.h"

namespace weir {
namespace {

// Runs `step` on the volume's loop and waits for it.
template <typename Step>
void OnLoop(VolumeServer& server, Step step) {
  std::promise<void> done;
  server.With([&](VolumeServer& at) {
    step(at);
    done.set_value();
  });
  done.get_future().wait();
}

// Gently: a hot loop would starve the worker that it waits for on two CPUs. The question itself
// takes long where commands are slow, so what follows is as long as it was; but not where it was
// only its turn that came late, by milliseconds.
Result<void> AwaitQuiesced(UblkControl& control, uint32_t id, uint64_t deadline_ns) {
  constexpr uint64_t kPauseNsMin = 100'000;
  constexpr uint64_t kPauseNsMax = 500'000;
  const uint64_t begin_ns = MonotonicNs();
  for (;;) {
    const uint64_t asked_ns = MonotonicNs();
    const auto info = control.Info(id);
    if (!info.ok()) return info.error();
    if (info.value().state == UblkState::kQuiesced) return {};
    const uint64_t now_ns = MonotonicNs();
    if (now_ns - begin_ns >= deadline_ns) {
      return Error{EBUSY, "the kernel did not let go of the ublk device in time"};
    }
    std::this_thread::sleep_for(
        std::chrono::nanoseconds(std::clamp(now_ns - asked_ns, kPauseNsMin, kPauseNsMax)));
  }
}

// Whether the kernel took all tags away. It tries each once, and passes over one whose request is
// just being put back, as it does with every request from now on: so it is asked again.
bool Quiesce(VolumeServer& server, const UblkLeave& leave) {
  constexpr std::chrono::milliseconds kPatience{10};
  const auto gone = std::make_shared<std::promise<void>>();
  // Not waited for: it was posted before the kernel takes the first tag away.
  server.With([gone](VolumeServer& at) { at.ublk_gone = [gone] { gone->set_value(); }; });
  const auto all_taken = gone->get_future();
  const uint64_t begin_ns = MonotonicNs();
  for (;;) {
    const uint64_t waited_ns = MonotonicNs() - begin_ns;
    if (waited_ns >= leave.deadline_ns) break;
    const auto left_ms = static_cast<uint32_t>((leave.deadline_ns - waited_ns) / 1'000'000);
    if (!leave.control.Quiesce(leave.info.id, std::max<uint32_t>(left_ms, 1)).ok()) break;
    if (all_taken.wait_for(kPatience) == std::future_status::ready) return true;
  }
  OnLoop(server, [](VolumeServer& at) { at.ublk_gone = nullptr; });
  return false;
}

// A sync whose end is lost with its ring could have failed, and the disk says so only once.
void AwaitSyncs(VolumeServer& server) {
  constexpr std::chrono::microseconds kPause{200};
  for (;;) {
    bool syncing = false;
    OnLoop(server, [&](VolumeServer& at) { syncing = at.volume().syncing(); });
    if (!syncing) return;
    std::this_thread::sleep_for(kPause);
  }
}

uint64_t SizeOf(VolumeServer& server) {
  uint64_t size_bytes = 0;
  OnLoop(server, [&](VolumeServer& at) { size_bytes = at.volume().size_bytes(); });
  return size_bytes;
}

// Whether the device waits for its next server.
Result<bool> Recovers(UblkControl& control, uint32_t id, UblkDeviceInfo* device) {
  const auto info = control.Info(id);
  const bool gone = !info.ok() && (info.error().code == ENODEV || info.error().code == ENOENT);
  if (gone) return false;
  if (!info.ok()) return info.error();
  *device = info.value();
  if (info.value().state == UblkState::kDead) {
    // Its server died before it had started the device, or between stopping and removing it: there
    // is no block device, so nobody waits for it.
    const auto removed = control.Delete(id);
    return removed.ok() ? Result<bool>(false) : removed.error();
  }
  const auto begun = control.StartRecovery(id);
  return begun.ok() ? Result<bool>(true) : begun.error();
}

// A device that waits for its next server, or a new one.
Result<UblkDeviceInfo> Obtain(VolumeServer& server, UblkControl& control, const UblkStart& start,
                              bool* recover) {
  *recover = false;
  if (start.recover) {
    UblkDeviceInfo device;
    const auto recovers = Recovers(control, static_cast<uint32_t>(start.id), &device);
    if (!recovers.ok()) return recovers.error();
    *recover = recovers.value();
    if (*recover) return device;
  }
  auto added = control.Add({.queue_depth = start.depth, .id = start.id});
  if (!added.ok()) return added;
  const UblkDeviceInfo& info = added.value();
  const auto set = control.SetParams(info.id, SizeOf(server), info.max_io_bytes);
  if (set.ok()) return added;
  (void)control.Delete(info.id);
  return set.error();
}

std::unique_ptr<UblkQueue> MakeQueue(VolumeServer& server, const UblkDeviceInfo& info,
                                     std::unique_ptr<UblkChannel> channel) {
  return std::make_unique<UblkQueue>(
      server.loop(), server.volume(), std::move(channel),
      UblkQueueConfig{.depth = info.queue_depth, .max_io_bytes = info.max_io_bytes});
}

// Posts the fetching of all tags to the loop. Not waited for: START_DEV and END_USER_RECOVERY do.
void Fetch(VolumeServer& server, uint32_t id, std::unique_ptr<UblkQueue> queue) {
  server.With([queue = queue.release(), id](VolumeServer& at) {
    at.ublk.reset(queue);
    at.ublk_id = id;
    at.ublk->Begin([&at] {
      // In a task of its own: the queue is still on the stack.
      at.loop().Post([&at] {
        // Its buffers go after the next server was told that it may come.
        const std::unique_ptr<UblkQueue> ended = std::move(at.ublk);
        ended->CloseChannel();
        if (at.ublk_gone) std::exchange(at.ublk_gone, nullptr)();
      });
    });
  });
}

// After Fetch(). `first` runs on the loop while this thread ends the recovery.
Result<void> EndRecovery(VolumeServer& server, UblkControl& control, uint32_t id,
                         std::function<void(VolumeServer&)> first) {
  const auto fetched = std::make_shared<std::promise<void>>();
  server.With([fetched, first = std::move(first)](VolumeServer& at) {
    // Submitted at the end of the round that fetches: a task of a task runs after that.
    at.loop().Post([&at, fetched, first] {
      at.loop().Post([&at, fetched, first] {
        fetched->set_value();
        if (first) first(at);
      });
    });
  });
  if (!UblkQueueStandsStill()) {
    fetched->get_future().wait();
    SettleUblkRequeues();
  }
  return control.EndRecovery(id);
}

// Fetches the tags on the loop while this thread waits in START_DEV, or for END_USER_RECOVERY.
Result<void> Serve(VolumeServer& server, UblkControl& control, const UblkDeviceInfo& info,
                   bool recover) {
  auto channel = UblkCharDevice::Open(info.id, info.queue_depth, UblkControl::kDeadlineNs);
  if (!channel.ok()) return channel.error();
  if (!recover) server.With([info](VolumeServer&) { LeaveUnscanned(info); });
  Fetch(server, info.id, MakeQueue(server, info, std::move(channel.value())));
  const auto live = recover ? EndRecovery(server, control, info.id, {}) : control.Start(info.id);
  if (!live.ok()) return live;
  const auto node = EnsureUblkBlockNode(info.id, UblkControl::kDeadlineNs);
  if (!node.ok()) return node.error();
  return {};
}

}  // namespace

Result<void> StartUblk(VolumeServer& server, UblkControl& control, const UblkStart& start) {
  bool serving = false;
  OnLoop(server, [&](VolumeServer& at) { serving = at.ublk != nullptr; });
  if (serving) return Error{EEXIST, "the volume is served over ublk already"};
  bool recover = false;
  const auto info = Obtain(server, control, start, &recover);
  if (!info.ok()) return info.error();
  const auto served = Serve(server, control, info.value(), recover);
  if (!served.ok()) {
    // A recovered device has requests waiting: it is kept for another try, never removed (I9).
    if (!recover) (void)StopUblk(server, control);
    return served.error();
  }
  if (recover) {
    // Growth that was recorded before the crash, but not yet told.
    const auto size = control.GetSizeBytes(info.value().id);
    if (size.ok() && size.value() < SizeOf(server)) (void)ResizeUblk(server, control);
  }
  return {};
}

Result<void> StopUblk(VolumeServer& server, UblkControl& control) {
  std::promise<void> gone;
  bool serving = false;
  uint32_t id = 0;
  OnLoop(server, [&](VolumeServer& at) {
    serving = at.ublk != nullptr;
    id = at.ublk_id;
    if (serving) at.ublk_gone = [&gone] { gone.set_value(); };
  });
  if (!serving) return {};
  const auto stopped = control.Stop(id);
  if (!stopped.ok()) {
    OnLoop(server, [](VolumeServer& at) { at.ublk_gone = nullptr; });
    return stopped;
  }
  gone.get_future().wait();
  return control.Delete(id);
}

Result<void> ResizeUblk(VolumeServer& server, UblkControl& control) {
  bool serving = false;
  uint32_t id = 0;
  OnLoop(server, [&](VolumeServer& at) {
    serving = at.ublk != nullptr;
    id = at.ublk_id;
  });
  if (!serving) return {};
  return control.UpdateSize(id, SizeOf(server));
}

// While requests wait: each step here is a part of the stall, and so is each wait for the loop.
Result<void> LeaveUblk(VolumeServer& server, const UblkLeave& leave) {
  UblkControl& control = leave.control;
  const uint32_t id = leave.info.id;
  const bool quiesces = (leave.info.features & ublk::kFeatureQuiesce) != 0;
  // A queue full of requests, without an idle tag, ends the other way.
  if (quiesces && Quiesce(server, leave)) return {};
  if (quiesces || leave.syncs) AwaitSyncs(server);
  server.Park();
  if (!quiesces) {
    const auto waited = AwaitQuiesced(control, id, leave.deadline_ns);
    if (!waited.ok()) return waited;
    SettleUblkWorker(leave.worker_runs_through);
  }
  // Last: were the ring's worker the last to hold the file, the kernel would close it a tick later.
  server.ublk.reset();
  return control.StartRecovery(id, true);
}

Result<std::unique_ptr<UblkQueue>> OpenLeftUblk(VolumeServer& server, const UblkDeviceInfo& info,
                                                uint64_t deadline_ns) {
  auto channel = UblkCharDevice::Open(info.id, info.queue_depth, deadline_ns);
  if (!channel.ok()) return channel.error();
  return MakeQueue(server, info, std::move(channel.value()));
}

Result<void> ServeLeftUblk(VolumeServer& server, UblkControl& control, uint32_t id,
                           std::unique_ptr<UblkQueue> queue,
                           std::function<void(VolumeServer&)> first) {
  if (!first) {
    Fetch(server, id, std::move(queue));
    return EndRecovery(server, control, id, {});
  }
  queue->Hold();
  Fetch(server, id, std::move(queue));
  return EndRecovery(server, control, id, [first = std::move(first)](VolumeServer& at) {
    first(at);
    if (at.ublk != nullptr) at.ublk->Thaw();
  });
}

Result<void> AbandonUblk(UblkControl& control, uint32_t id) {
  const auto info = control.Info(id);
  if (!info.ok()) return info.error().code == ENODEV ? Result<void>() : info.error();
  if (info.value().state == UblkState::kLive) {
    return Error{EBUSY, "the ublk device is being served"};
  }
  if (const auto stopped = control.Stop(id); !stopped.ok()) return stopped;
  return control.Delete(id);
}

}  // namespace weir
