#include "engine/ublk/ublk_control.h"

#include <liburing.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/monotonic_clock.h"
#include "engine/base/types.h"
#include "engine/base/unique_fd.h"
#include "engine/ublk/ublk_false_server.h"
#include "engine/ublk/ublk_nodes.h"

namespace weir {
namespace {

constexpr unsigned kRingEntries = 16;
constexpr uint64_t kFeaturesNeeded = ublk::kFeatureUserRecovery |
                                     ublk::kFeatureUserRecoveryReissue |
                                     ublk::kFeatureCmdIoctlEncode | ublk::kFeatureUserCopy;
constexpr uint64_t kFeaturesWelcome =
    ublk::kFeatureUpdateSize | ublk::kFeatureQuiesce | ublk::kFeatureNoAutoPartScan;
constexpr uint8_t kBlockShift = 12;
static_assert(1U << kBlockShift == kBlockBytes);
// Weir stores no byte for a discard, whatever its length; the limit keeps lengths within 32 bits.
constexpr uint32_t kDiscardBytesMax = 1U << 30;

// A hotter loop would starve the kernel's clean-up of the former server on 2 CPUs.
constexpr long kRecoveryPauseNs = 100'000;
// Drivers before 6.16 say QUIESCED and only then cancel, in a worker and without a lock, whatever
// commands they find: a successor that fetches within that moment loses commands that the driver
// goes on using, and the kernel crashes. Nothing tells when the worker is done, so we wait.
constexpr long kSettleNs = 10'000'000;

void Pause(long ns) {
  const timespec pause{0, ns};
  nanosleep(&pause, nullptr);
}

UblkDeviceInfo InfoOf(const ublk::DeviceInfo& wire) {
  UblkDeviceInfo info;
  info.id = wire.dev_id;
  info.queue_depth = wire.queue_depth;
  info.state = static_cast<UblkState>(wire.state);
  info.server_pid = wire.server_pid;
  info.max_io_bytes = wire.max_io_buf_bytes;
  info.features = wire.flags;
  return info;
}

Result<void> ResultOf(int result, const char* what) {
  if (result < 0) return Error{-result, what};
  return {};
}

}  // namespace

struct UblkControl::State {
  ~State() {
    if (ring_open) io_uring_queue_exit(&ring);
  }

  UniqueFd fd;
  io_uring ring{};
  bool ring_open = false;
  std::atomic<bool> busy{false};
};

// One command with the buffer that the kernel reads or fills.
struct UblkControl::Call {
  uint32_t op = 0;
  ublk::ControlCommand command;
  union Buffer {
    ublk::DeviceInfo info;
    ublk::Params params;
    uint64_t features;
    Buffer() : info() {}
  } buffer;

  Call(uint32_t op_code, uint32_t device_id, uint16_t buffer_bytes) : op(op_code) {
    command.dev_id = device_id;
    command.len = buffer_bytes;
    if (buffer_bytes > 0) command.addr = reinterpret_cast<uint64_t>(&buffer);
  }
};

Result<std::unique_ptr<UblkControl>> UblkControl::Open() {
  auto state = std::make_unique<State>();
  Result<UniqueFd> fd = OpenUblkControlNode();
  if (!fd.ok()) return fd.error();
  state->fd = std::move(fd.value());
  io_uring_params params{};
  params.flags = IORING_SETUP_SQE128;
  const int result = io_uring_queue_init_params(kRingEntries, &state->ring, &params);
  if (result < 0) return Error{-result, "cannot create the io_uring of the ublk control"};
  state->ring_open = true;
  return std::unique_ptr<UblkControl>(new UblkControl(std::move(state)));
}

UblkControl::UblkControl(std::unique_ptr<State> state) : state_(std::move(state)) {}
UblkControl::~UblkControl() = default;

int UblkControl::Execute(std::unique_ptr<Call>& call) {
  WEIR_CHECK(!state_->busy.exchange(true, std::memory_order_acquire));
  io_uring* ring = &state_->ring;
  io_uring_sqe* sqe = io_uring_get_sqe(ring);
  WEIR_CHECK(sqe != nullptr);
  std::memset(sqe, 0, 2 * sizeof(*sqe));
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = state_->fd.get();
  sqe->cmd_op = call->op;
  sqe->user_data = reinterpret_cast<uint64_t>(call.get());
  std::memcpy(sqe->cmd, &call->command, sizeof(call->command));
  int result = io_uring_submit(ring);
  if (result >= 0) result = Await(*call);
  // Without an answer the command is still in the kernel, so its memory is left to it for good.
  if (result == -ETIMEDOUT) static_cast<void>(call.release());
  state_->busy.store(false, std::memory_order_release);
  return result;
}

int UblkControl::Await(const Call& call) {
  const uint64_t until_ns = MonotonicNs() + kDeadlineNs;
  for (;;) {
    const uint64_t now_ns = MonotonicNs();
    const uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    __kernel_timespec wait{};
    wait.tv_sec = static_cast<int64_t>(wait_ns / 1'000'000'000ULL);
    wait.tv_nsec = static_cast<long long>(wait_ns % 1'000'000'000ULL);
    io_uring_cqe* cqe = nullptr;
    const int waited = io_uring_wait_cqe_timeout(&state_->ring, &cqe, &wait);
    if (waited == -EINTR) continue;
    if (waited < 0) return -ETIMEDOUT;
    // An earlier command may answer after its deadline; nobody waits for it any more.
    const bool ours = cqe->user_data == reinterpret_cast<uint64_t>(&call);
    const int answer = cqe->res;
    io_uring_cqe_seen(&state_->ring, cqe);
    if (ours) return answer;
  }
}

int UblkControl::Command(uint32_t op, uint32_t id, uint64_t data) {
  auto call = std::make_unique<Call>(op, id, 0);
  call->command.data = data;
  return Execute(call);
}

Result<uint64_t> UblkControl::GetFeatures() {
  auto call = std::make_unique<Call>(ublk::kGetFeatures, 0, sizeof(uint64_t));
  call->buffer.features = 0;
  const int result = Execute(call);
  if (result < 0) {
    return Error{-result, "cannot ask the ublk driver for its features: use Linux 6.7 or newer"};
  }
  return call->buffer.features;
}

Result<UblkDeviceInfo> UblkControl::Add(const UblkAddOptions& options) {
  const Result<uint64_t> features = GetFeatures();
  if (!features.ok()) return features.error();
  // CMD_IOCTL_ENCODE is how this code speaks; some drivers do not list it.
  constexpr uint64_t kListed = kFeaturesNeeded & ~ublk::kFeatureCmdIoctlEncode;
  if ((features.value() & kListed) != kListed) {
    return Error{ENOTSUP,
                 "cannot use this kernel's ublk driver: it lacks user recovery or user "
                 "copy; use Linux 6.7 or newer"};
  }
  auto call = std::make_unique<Call>(ublk::kAddDevice, static_cast<uint32_t>(options.id),
                                     sizeof(ublk::DeviceInfo));
  ublk::DeviceInfo& wire = call->buffer.info;
  wire.nr_hw_queues = 1;
  wire.queue_depth = options.queue_depth;
  wire.max_io_buf_bytes = options.max_io_bytes;
  wire.dev_id = static_cast<uint32_t>(options.id);
  wire.server_pid = ::getpid();
  wire.flags = kFeaturesNeeded | (features.value() & kFeaturesWelcome);
  const int result = Execute(call);
  if (result < 0) return Error{-result, "cannot add a ublk device"};
  return InfoOf(call->buffer.info);
}

Result<void> UblkControl::SetParams(uint32_t id, uint64_t size_bytes, uint32_t max_io_bytes) {
  auto call = std::make_unique<Call>(ublk::kSetParams, id, sizeof(ublk::Params));
  ublk::Params params;
  params.len = sizeof(params);
  params.types = ublk::kParamBasic | ublk::kParamDiscard;
  // Without VOLATILE_CACHE the kernel would strip FLUSH and FUA and take every answer for durable.
  params.basic.attrs = ublk::kAttrVolatileCache | ublk::kAttrFua;
  params.basic.logical_bs_shift = kBlockShift;
  params.basic.physical_bs_shift = kBlockShift;
  params.basic.io_opt_shift = kBlockShift;
  params.basic.io_min_shift = kBlockShift;
  params.basic.max_sectors = max_io_bytes >> ublk::kSectorShift;
  params.basic.dev_sectors = size_bytes >> ublk::kSectorShift;
  params.discard.granularity = kBlockBytes;
  params.discard.max_sectors = kDiscardBytesMax >> ublk::kSectorShift;
  params.discard.max_write_zeroes_sectors = kDiscardBytesMax >> ublk::kSectorShift;
  params.discard.max_segments = 1;
  call->buffer.params = params;
  return ResultOf(Execute(call), "cannot set the parameters of the ublk device");
}

Result<uint64_t> UblkControl::GetSizeBytes(uint32_t id) {
  auto call = std::make_unique<Call>(ublk::kGetParams, id, sizeof(ublk::Params));
  call->buffer.params = ublk::Params{};
  call->buffer.params.len = sizeof(ublk::Params);
  const int result = Execute(call);
  if (result < 0) return Error{-result, "cannot read the parameters of the ublk device"};
  return call->buffer.params.basic.dev_sectors << ublk::kSectorShift;
}

Result<UblkDeviceInfo> UblkControl::Info(uint32_t id) {
  auto call = std::make_unique<Call>(ublk::kGetDeviceInfo, id, sizeof(ublk::DeviceInfo));
  const int result = Execute(call);
  if (result < 0) return Error{-result, "cannot find the ublk device"};
  return InfoOf(call->buffer.info);
}

Result<void> UblkControl::Start(uint32_t id) {
  return ResultOf(Command(ublk::kStartDevice, id, static_cast<uint64_t>(::getpid())),
                  "cannot start the ublk device");
}

Result<void> UblkControl::Stop(uint32_t id) {
  return ResultOf(Command(ublk::kStopDevice, id, 0), "cannot stop the ublk device");
}

Result<void> UblkControl::Delete(uint32_t id) {
  return ResultOf(Command(ublk::kDeleteDevice, id, 0), "cannot delete the ublk device");
}

Result<void> UblkControl::UpdateSize(uint32_t id, uint64_t size_bytes) {
  const int result = Command(ublk::kUpdateSize, id, size_bytes >> ublk::kSectorShift);
  if (result == -EOPNOTSUPP || result == -EINVAL) {
    return Error{ENOTSUP,
                 "cannot grow a live ublk device on this kernel: detach the volume and "
                 "attach it again, or use Linux 6.16 or newer"};
  }
  return ResultOf(result, "cannot change the size of the ublk device");
}

Result<void> UblkControl::StartRecovery(uint32_t id, bool settled) {
  const uint64_t until_ns = MonotonicNs() + kDeadlineNs;
  for (;;) {
    const int result = Command(ublk::kStartUserRecovery, id, 0);
    if (result >= 0 && settled) return {};
    const Result<UblkDeviceInfo> info = Info(id);
    if (result >= 0) {
      const bool quiesces = info.ok() && (info.value().features & ublk::kFeatureQuiesce) != 0;
      if (!quiesces) Pause(kSettleNs);
      return {};
    }
    if (info.ok() && info.value().state == UblkState::kDead) {
      return Error{ENODEV, "cannot recover a ublk device that was never started: delete it"};
    }
    // Begun before, by a server that went before it had fetched a command.
    const bool begun = info.ok() && info.value().state == UblkState::kQuiesced;
    bool busy = result == -EBUSY;
    if (result == -EINVAL && begun) {
      if ((info.value().features & ublk::kFeatureQuiesce) != 0) return {};
      const auto freed = ServeUblkFalsely(id, info.value().queue_depth);
      if (!freed.ok() && freed.error().code != EBUSY) return freed;
      settled = false;
      busy = true;
    }
    if (!busy) return Error{-result, "cannot begin the recovery of the ublk device"};
    if (MonotonicNs() >= until_ns) {
      return Error{EBUSY, "cannot recover the ublk device: another process still serves it"};
    }
    Pause(kRecoveryPauseNs);
  }
}

Result<void> UblkControl::EndRecovery(uint32_t id) {
  return ResultOf(Command(ublk::kEndUserRecovery, id, static_cast<uint64_t>(::getpid())),
                  "cannot end the recovery of the ublk device");
}

Result<void> UblkControl::Quiesce(uint32_t id, uint32_t timeout_ms) {
  const int result = Command(ublk::kQuiesceDevice, id, timeout_ms);
  if (result == -EOPNOTSUPP || result == -EINVAL) {
    return Error{ENOTSUP, "cannot quiesce a ublk device on this kernel: close its ring instead"};
  }
  return ResultOf(result, "cannot quiesce the ublk device");
}

}  // namespace weir
