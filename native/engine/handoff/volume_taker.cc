#include "engine/handoff/volume_taker.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <utility>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/on_loop.h"
#include "engine/handoff/urgent.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/volume/ublk_transport.h"

namespace weir {
namespace {

using window::Transport;

// Where each descriptor of a volume lies in its message.
constexpr size_t kLockAt = 0;
constexpr size_t kNbdStateAt = 1;
constexpr size_t kNbdSocketsAt = 2;
// A client's requests and replies in hand: at most what one server holds for all of them.
constexpr size_t kNbdStateBytesMax = 1U << 30;
// What has waited is answered first, before both engines clear away.
constexpr uint64_t kFirstAnswersNs = 10'000'000;

Result<std::vector<std::byte>> ReadAll(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Error{errno, "cannot stat the NBD clients' state"};
  const auto size = static_cast<size_t>(status.st_size);
  if (size > kNbdStateBytesMax) return Error{EBADMSG, "the NBD clients' state is too large"};
  std::vector<std::byte> bytes(size);
  for (size_t at = 0; at < size;) {
    const ssize_t got = ::pread(fd, bytes.data() + at, size - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Error{got < 0 ? errno : EIO, "cannot read the NBD clients' state"};
    at += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

VolumeTaker::VolumeTaker(Options options)
    : uid_(options.uid),
      server_(options.server),
      transport_(options.transport),
      nbd_config_(std::move(options.nbd)) {}

VolumeTaker::~VolumeTaker() { EndUrgency(0); }

void VolumeTaker::EndUrgency(uint64_t after_ns) {
  if (!std::exchange(urgent_, false)) return;
  server_.With([after_ns](VolumeServer& at) {
    if (after_ns == 0) return SetUrgency(Urgency::kNone);
    at.loop().After(after_ns, [] { SetUrgency(Urgency::kNone); });
  });
}

Result<void> VolumeTaker::Prepare() {
  Result<void> result;
  urgent_ = true;
  OnLoopOf(server_, [&](VolumeServer& at) {
    result = at.volume().PrepareAdopt();
    if (!result.ok()) return;
    const auto caught = at.volume().CatchUp(UINT64_MAX);
    if (!caught.ok()) result = caught.error();
    // Before the window: there it would first have to get its turn to ask for it.
    SetUrgency(Urgency::kThread);
  });
  if (!result.ok() || transport_ != Transport::kUblk) return result;
  auto control = UblkControl::Open();
  if (!control.ok()) return control.error();
  control_ = std::move(control.value());
  // Also wakes a worker of the control ring, which then is there in the window.
  const auto features = control_->GetFeatures();
  return features.ok() ? Result<void>() : features.error();
}

// The device or the clients, without touching either.
Result<void> VolumeTaker::Open(const window::VolumeBody& body, uint64_t until_ns) {
  if (fds_.empty()) {
    return Error{EBADMSG, "a volume was handed over without its journal's lock"};
  }
  if (static_cast<Transport>(body.transport) != transport_) {
    return Error{EBADMSG, "a volume was handed over with another transport than agreed on"};
  }
  if (transport_ == Transport::kUblk) {
    const uint64_t now_ns = MonotonicNs();
    UblkDeviceInfo info;
    info.id = body.ublk_id;
    info.queue_depth = body.ublk_depth;
    info.max_io_bytes = body.ublk_max_io_bytes;
    auto queue = OpenLeftUblk(server_, info, until_ns > now_ns ? until_ns - now_ns : 0);
    if (!queue.ok()) return queue.error();
    queue_ = std::move(queue.value());
  } else if (transport_ == Transport::kNbd) {
    if (fds_.size() <= kNbdSocketsAt) {
      return Error{EBADMSG, "NBD clients were handed over without their sockets"};
    }
    auto state = ReadAll(fds_[kNbdStateAt].get());
    if (!state.ok()) return state.error();
    nbd_state_ = std::move(state.value());
  }
  return {};
}

Result<void> VolumeTaker::Follow(const window::VolumeBody& body, std::vector<UniqueFd> fds,
                                 uint64_t until_ns) {
  body_ = body;
  fds_ = std::move(fds);
  std::promise<Result<void>> caught_up;
  server_.With([&](VolumeServer& at) {
    const auto caught = at.volume().CatchUp(body.committed_seq);
    if (!caught.ok()) {
      caught_up.set_value(caught.error());
    } else if (!at.volume().Matches(window::HandoverOf(body))) {
      caught_up.set_value(
          Error{EBADMSG, "the journal as it was read is not the journal as its writer left it"});
    } else {
      caught_up.set_value({});
    }
  });
  const Result<void> opened = Open(body, until_ns);
  const Result<void> caught = caught_up.get_future().get();
  return caught.ok() ? opened : caught;
}

Result<void> VolumeTaker::Serve(uint64_t claimed_ns) {
  body_.claimed_ns = claimed_ns;
  auto adopted = std::make_shared<std::promise<Result<void>>>();
  const auto adopt = [this, adopted](VolumeServer& at) {
    adopted->set_value(at.volume().Adopt(window::HandoverOf(body_), std::move(fds_[kLockAt])));
  };
  Result<void> served;
  if (queue_ != nullptr) {
    served = ServeLeftUblk(server_, *control_, body_.ublk_id, std::move(queue_), adopt);
  } else {
    server_.With(adopt);  // What follows on the loop comes after it.
    if (transport_ == Transport::kNbd) served = ServeNbd();
  }
  const Result<void> owns = adopted->get_future().get();
  body_.serving_ns = MonotonicNs();
  EndUrgency(kFirstAnswersNs);
  if (!owns.ok() || !served.ok()) return owns.ok() ? served : owns;
  if (transport_ == Transport::kUblk) {
    // In a container of its own /dev, where the node is still missing.
    const auto node = EnsureUblkBlockNode(body_.ublk_id, UblkControl::kDeadlineNs);
    if (!node.ok()) return node.error();
  }
  return {};
}

Result<void> VolumeTaker::ServeNbd() {
  std::vector<UniqueFd> sockets;
  for (size_t at = kNbdSocketsAt; at < fds_.size(); ++at) sockets.push_back(std::move(fds_[at]));
  Result<void> served;
  OnLoopOf(server_, [&](VolumeServer& at) {
    auto server =
        NbdServer::Take(at.loop(), at.volume(), nbd_config_, std::move(sockets), nbd_state_);
    if (server.ok()) {
      at.nbd = std::move(server.value());
    } else {
      served = server.error();
    }
  });
  return served;
}

}  // namespace weir
