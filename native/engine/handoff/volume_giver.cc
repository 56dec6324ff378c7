#include "engine/handoff/volume_giver.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/monotonic_clock.h"
#include "engine/handoff/on_loop.h"
#include "engine/handoff/urgent.h"
#include "engine/ublk/ublk_settle.h"
#include "engine/volume/ublk_transport.h"

namespace weir {
namespace {

using window::Transport;

// Between two looks at the journal's background thread, before the window.
constexpr std::chrono::microseconds kRestLook{200};

uint64_t LeftNs(uint64_t until_ns) {
  const uint64_t now_ns = MonotonicNs();
  return until_ns > now_ns ? until_ns - now_ns : 0;
}

Result<UniqueFd> MemoryFile(std::span<const std::byte> bytes) {
  UniqueFd fd(::memfd_create("weir-nbd", MFD_CLOEXEC));
  if (!fd.valid()) return Error{errno, "cannot make a memory file for the NBD clients"};
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return Error{put < 0 ? errno : EIO, "cannot write the state of the NBD clients"};
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return fd;
}

}  // namespace

VolumeGiver::VolumeGiver(const Uid& uid, VolumeServer& server) : uid_(uid), server_(server) {}

Result<void> VolumeGiver::Rest(uint64_t until_ns) {
  Journal* journal = nullptr;
  bool failed = true;
  bool ublk = false;
  OnLoopOf(server_, [&](VolumeServer& at) {
    journal = at.volume().journal();
    failed = at.volume().failed() || journal == nullptr || journal->failed();
    ublk = at.ublk != nullptr;
    if (!failed) journal->PauseBackground();
  });
  if (failed) return Error{EIO, "a volume has failed: detach it, then hand over"};
  stage_ = Stage::kResting;
  if (ublk) {
    auto control = UblkControl::Open();
    if (!control.ok()) return control.error();
    control_ = std::move(control.value());
    // Also wakes a worker of the control ring, which then is there in the window.
    const auto info = control_->Info(server_.ublk_id);
    if (!info.ok()) return info.error();
    device_ = info.value();
    const bool settles = (device_.features & ublk::kFeatureQuiesce) == 0;
    worker_runs_through_ = settles && UblkWorkerRunsThrough();
  }
  while (!journal->background_at_rest()) {
    if (LeftNs(until_ns) == 0) {
      return Error{ETIMEDOUT, "a journal did not finish its background work in time"};
    }
    std::this_thread::sleep_for(kRestLook);
  }
  return {};
}

void VolumeGiver::OnFrozen(VolumeServer& at) {
  const JournalHandover journal = at.volume().journal()->handover();
  std::copy(uid_.bytes.begin(), uid_.bytes.end(), std::begin(body_.uid));
  body_.committed_seq = journal.committed_seq;
  body_.synced_seq = journal.synced_seq;
  body_.next_number = journal.next_number;
  body_.newest_number = journal.newest_number;
  body_.newest_end = journal.newest_end;
  body_.newest_sealed = journal.newest_sealed;
  failed_ = at.volume().failed();
  syncs_ = at.volume().syncing();
  if (at.nbd != nullptr) {
    body_.transport = static_cast<uint8_t>(Transport::kNbd);
    nbd_ = at.nbd->Give();
  }
  if (at.ublk != nullptr) {
    body_.transport = static_cast<uint8_t>(Transport::kUblk);
    body_.ublk_id = device_.id;
    body_.ublk_depth = device_.queue_depth;
    body_.ublk_max_io_bytes = device_.max_io_bytes;
  }
  body_.rested_ns = MonotonicNs();
}

Result<void> VolumeGiver::Freeze(uint64_t until_ns) {
  const auto frozen = std::make_shared<std::promise<void>>();
  frozen_ = frozen->get_future();
  stage_ = Stage::kFreezing;
  server_.With([this, frozen](VolumeServer& at) {
    SetUrgency(Urgency::kThread);
    body_.frozen_ns = MonotonicNs();
    const auto open = std::make_shared<int>(1 + (at.ublk != nullptr) + (at.nbd != nullptr));
    const auto one = [this, &at, open, frozen] {
      if (--*open > 0) return;
      OnFrozen(at);
      frozen->set_value();
    };
    if (at.ublk != nullptr) at.ublk->Freeze(one);
    if (at.nbd != nullptr) at.nbd->Freeze(one);
    // In the next round: what this round staged is in the journal by then.
    const bool keeps_ring = control_ == nullptr || (device_.features & ublk::kFeatureQuiesce) != 0;
    at.loop().Post([&at, one, keeps_ring] {
      at.volume().GiveBackWaiting(keeps_ring);
      one();
    });
  });
  const auto limit = std::chrono::nanoseconds(LeftNs(until_ns));
  if (frozen_.wait_for(limit) != std::future_status::ready) {
    return Error{ETIMEDOUT, "a volume's started I/O did not end in time"};
  }
  stage_ = Stage::kFrozen;
  if (failed_) return Error{EIO, "a volume failed during the handoff"};
  return {};
}

Result<void> VolumeGiver::Leave(uint64_t until_ns) {
  WEIR_CHECK(stage_ == Stage::kFrozen);
  if (control_ != nullptr) {
    stage_ = Stage::kLeaving;
    const auto left = LeaveUblk(server_, {.control = *control_,
                                          .info = device_,
                                          .syncs = syncs_,
                                          .worker_runs_through = worker_runs_through_,
                                          .deadline_ns = LeftNs(until_ns)});
    if (!left.ok()) return left;
    stage_ = Stage::kLeft;
  }
  body_.left_ns = MonotonicNs();
  return {};
}

Result<void> VolumeGiver::Send(HandoffSocket& socket, uint32_t batch, uint64_t until_ns) {
  std::vector<int> fds{server_.volume().journal()->lock_fd()};
  UniqueFd state;
  if (body_.transport == static_cast<uint8_t>(Transport::kNbd)) {
    auto made = MemoryFile(nbd_.state);
    if (!made.ok()) return made.error();
    state = std::move(made.value());
    fds.push_back(state.get());
    fds.push_back(nbd_.listening_fd);
    fds.insert(fds.end(), nbd_.connection_fds.begin(), nbd_.connection_fds.end());
  }
  const auto bytes = window::Encode(
      {.kind = window::Kind::kFrozen, .volume = body_, .reason = {}, .batch = batch});
  // Set first: a message that was not sent in time may be there all the same.
  sent_ = true;
  return socket.Send(bytes, fds, until_ns);
}

// The device was left, or at least given a start: takes it as any successor would.
Result<void> VolumeGiver::ServeAgain() {
  if (server_.parked()) {
    const bool orderly = stage_ == Stage::kLeft;
    if (!orderly) server_.ublk.reset();
    if (const auto again = server_.Unpark(); !again.ok()) return again;
  } else {
    bool serving = false;
    OnLoopOf(server_, [&](VolumeServer& at) {
      serving = at.ublk != nullptr;
      if (serving) at.ublk->Thaw();
    });
    if (serving) return {};  // Leaving failed before it began.
  }
  // Anew, also where it was begun on leaving: the driver remembers whose memory mapped the device
  // since then, and that may have been the other engine's. Waits until that one let go.
  const auto begun = control_->StartRecovery(device_.id, stage_ == Stage::kLeft);
  if (!begun.ok()) return begun;
  auto queue = OpenLeftUblk(server_, device_, UblkControl::kDeadlineNs);
  if (!queue.ok()) return queue.error();
  return ServeLeftUblk(server_, *control_, device_.id, std::move(queue.value()), {});
}

Result<void> VolumeGiver::Revive() {
  const Stage reached = std::exchange(stage_, Stage::kServing);
  if (reached == Stage::kServing) return {};
  // What did not end in time ends some time, or the disk never answers and nobody can serve.
  if (reached == Stage::kFreezing) frozen_.wait();
  stage_ = reached;
  Result<void> served;
  if (reached >= Stage::kLeaving) served = ServeAgain();
  stage_ = Stage::kServing;
  if (server_.parked()) return served;
  OnLoopOf(server_, [&](VolumeServer& at) {
    SetUrgency(Urgency::kNone);
    if (reached >= Stage::kFreezing) {
      if (reached < Stage::kLeaving && at.ublk != nullptr) at.ublk->Thaw();
      if (at.nbd != nullptr) at.nbd->Thaw();
    }
    at.volume().journal()->ResumeBackground();
    at.volume().SetCalm(false, [] {});
  });
  return served;
}

void VolumeGiver::LetGo() {
  const auto let_go = [](VolumeServer& at) {
    SetUrgency(Urgency::kNone);
    at.volume().LetGo();
    if (at.nbd != nullptr) at.nbd->LetGo();
  };
  if (server_.parked()) {
    let_go(server_);  // Its loop's urgency ended with that thread: here the window's ends.
    // For whoever still asks it something: a task that never runs is an answer that never comes.
    (void)server_.Unpark();
  } else {
    OnLoopOf(server_, let_go);
  }
}

}  // namespace weir
