// The ring, the rounds, the wake-up from other threads and the timers of one volume's thread.
//
// A round costs one io_uring_enter: it submits what the previous round queued and waits for the
// next completion. With COOP_TASKRUN hardly a completion appears between two enters, so everything
// that is ready is seen at once and batches form by themselves under load.
#include "engine/loop/loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/monotonic_clock.h"
#include "engine/base/signals_blocked.h"
#include "engine/loop/member_completion.h"
#include "engine/loop/spin_policy.h"

namespace weir {
namespace {

// The completion ring is larger than the submission ring because multishot and held requests
// complete long after their entries were reused.
constexpr uint32_t kCompletionsPerEntry = 4;

// Completions of one round. More at once save little: a commit of eight blocks costs per block what
// one of 32 does. Without a limit client and server take turns with all that is in flight, each
// waiting for the other (4 KiB writes over ublk, 32 in flight, two CPUs: 24,000/s against 30,000).
constexpr unsigned kRoundMax = 8;

// SUBMIT_ALL (5.18), TASKRUN_FLAG and COOP_TASKRUN (5.19), SINGLE_ISSUER (6.0). R_DISABLED lets the
// loop thread, not the creating thread, become the single issuer.
//
// Not DEFER_TASKRUN: what completes on such a ring after its thread has ended lies there until the
// kernel's clean-up of the ring looks again, 50 ms later, and a ublk device is held as long.
constexpr std::array<uint32_t, 3> kSetupFlags = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    0,
};

void CpuRelax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Timer {
  uint64_t due_ns = 0;
  uint64_t order = 0;  // timers of the same instant run in the order of After()
  std::function<void()> task;
};

// Heap order: the earliest timer on top.
bool Later(const Timer& a, const Timer& b) noexcept {
  return a.due_ns != b.due_ns ? a.due_ns > b.due_ns : a.order > b.order;
}

}  // namespace

struct Loop::State final : Completion {
  ~State();

  void OnCompletion(int result, uint32_t flags) override;
  void ArmWake(Loop& loop);
  void Wake() noexcept;
  Result<void> OpenRing();
  void OnTimer(int result, uint32_t flags);
  void Enter(Loop& loop);
  [[nodiscard]] bool CompletionNear() const noexcept;
  [[nodiscard]] bool SpinForCompletion() const;
  void ArmTimer(Loop& loop);
  void Dispatch();
  void RunPosted();
  void RunTimers(uint64_t now_ns);
  void RunHooks();

  uint32_t entries = 0;
  io_uring ring{};
  bool ring_open = false;
  bool enabled = false;

  SpinPolicy spin;

  UniqueFd wake_fd;
  uint64_t wake_count = 0;  // target of the eventfd read
  bool woken = false;
  std::atomic<bool> stop{false};
  std::mutex posted_mutex;
  std::vector<std::function<void()>> posted;   // guarded by posted_mutex
  std::vector<std::function<void()>> running;  // loop thread only

  std::array<std::vector<RoundEnd*>, 4> hooks;  // by RoundOrder
  bool hooks_have_gaps = false;
  std::vector<Timer> timers;  // a heap
  uint64_t timer_order = 0;
  bool timer_armed = false;
  uint64_t armed_due_ns = 0;
  __kernel_timespec timer_target{};
  MemberCompletion<State, &State::OnTimer> timer_fired{this};
};

Loop::State::~State() {
  if (ring_open) io_uring_queue_exit(&ring);
}

void Loop::State::OnCompletion(int result, uint32_t /*flags*/) {
  WEIR_CHECK(result == static_cast<int>(sizeof(wake_count)));
  woken = true;
}

void Loop::State::ArmWake(Loop& loop) {
  io_uring_prep_read(loop.Sqe(this), wake_fd.get(), &wake_count, sizeof(wake_count), 0);
}

void Loop::State::Wake() noexcept {
  const uint64_t one = 1;
  WEIR_CHECK(::write(wake_fd.get(), &one, sizeof(one)) == static_cast<ssize_t>(sizeof(one)));
}

// Submits everything queued and waits for a completion, which may be that of the timer, unless the
// last round left some.
void Loop::State::Enter(Loop& loop) {
  if (!timers.empty() && timers.front().due_ns != armed_due_ns) ArmTimer(loop);
  loop.answer_queued_ = false;
  const bool more = io_uring_cq_ready(&ring) > 0;
  if (!more && loop.slow_waits_ == 0 && spin.ShouldSpin()) {
    io_uring_submit(&ring);
    spin.OnSpinEnded(SpinForCompletion());
    // Made by the submission itself: there is nothing to enter the kernel for again.
    if (io_uring_cq_ready(&ring) > 0) return;
  }
  const int result = io_uring_submit_and_wait(&ring, more ? 0 : 1);
  // EAGAIN and EBUSY: the kernel is short of memory or of completion space; the next round retries.
  WEIR_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
}

// A completion, or the flag that says that one will be there as soon as this thread enters the
// kernel. Both are in memory that the kernel shares with us.
bool Loop::State::CompletionNear() const noexcept {
  const unsigned flags = __atomic_load_n(ring.sq.kflags, __ATOMIC_ACQUIRE);
  return (flags & IORING_SQ_TASKRUN) != 0 || io_uring_cq_ready(&ring) > 0;
}

// Watches for a completion without a system call.
bool Loop::State::SpinForCompletion() const {
  constexpr int kLooksPerClockRead = 16;
  const uint64_t until_ns = MonotonicNs() + SpinPolicy::kSpinNs;
  do {
    for (int i = 0; i < kLooksPerClockRead; ++i) {
      if (CompletionNear()) return true;
      CpuRelax();
    }
  } while (MonotonicNs() < until_ns);
  return false;
}

// One timeout on the ring stands for all timers. A timeout per wait would cost every request of the
// data path, whether or not a timer is due.
void Loop::State::ArmTimer(Loop& loop) {
  armed_due_ns = timers.front().due_ns;
  timer_target.tv_sec = static_cast<int64_t>(armed_due_ns / 1'000'000'000ULL);
  timer_target.tv_nsec = static_cast<long long>(armed_due_ns % 1'000'000'000ULL);
  if (!timer_armed) {
    timer_armed = true;
    io_uring_prep_timeout(loop.Sqe(&timer_fired), &timer_target, 0, IORING_TIMEOUT_ABS);
    return;
  }
  // The update may find that the timeout has fired just now: then its completion arms it again.
  io_uring_prep_timeout_update(loop.Sqe(nullptr), &timer_target,
                               reinterpret_cast<uint64_t>(static_cast<Completion*>(&timer_fired)),
                               IORING_TIMEOUT_ABS);
}

void Loop::State::OnTimer(int /*result*/, uint32_t /*flags*/) {
  timer_armed = false;
  armed_due_ns = 0;
}

void Loop::State::Dispatch() {
  // Only what is ready now: completions made by the dispatching itself belong to the next round, so
  // that the round-end hooks are never starved. And only so many that the client goes on with the
  // first answers while the next requests are worked on.
  for (unsigned left = std::min(io_uring_cq_ready(&ring), kRoundMax); left > 0; --left) {
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0;
    io_uring_for_each_cqe(&ring, head, cqe) break;
    WEIR_CHECK(cqe != nullptr);
    const uint64_t user_data = cqe->user_data;
    const int result = cqe->res;
    const uint32_t flags = cqe->flags;
    io_uring_cq_advance(&ring, 1);
    if (user_data != 0) reinterpret_cast<Completion*>(user_data)->OnCompletion(result, flags);
  }
}

void Loop::State::RunPosted() {
  {
    const std::lock_guard lock(posted_mutex);
    running.swap(posted);
  }
  for (std::function<void()>& task : running) task();
  running.clear();
}

void Loop::State::RunTimers(uint64_t now_ns) {
  while (!timers.empty() && timers.front().due_ns <= now_ns) {
    std::pop_heap(timers.begin(), timers.end(), Later);
    const std::function<void()> task = std::move(timers.back().task);
    timers.pop_back();
    task();
  }
}

void Loop::State::RunHooks() {
  for (std::vector<RoundEnd*>& order : hooks) {
    // By index, as a hook may add or remove hooks.
    // NOLINTNEXTLINE(modernize-loop-convert)
    for (size_t i = 0; i < order.size(); ++i) {
      if (order[i] != nullptr) order[i]->OnRoundEnd();
    }
  }
  if (!std::exchange(hooks_have_gaps, false)) return;
  for (std::vector<RoundEnd*>& order : hooks) std::erase(order, nullptr);
}

Result<std::unique_ptr<Loop>> Loop::Create(uint32_t entries) {
  auto state = std::make_unique<State>();
  state->wake_fd = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!state->wake_fd.valid()) return Error{errno, "cannot create an eventfd"};
  state->entries = entries;
  if (const auto opened = state->OpenRing(); !opened.ok()) return opened.error();
  return std::unique_ptr<Loop>(new Loop(std::move(state)));
}

Result<void> Loop::State::OpenRing() {
  int result = -EINVAL;
  for (size_t i = 0; i < kSetupFlags.size() && result == -EINVAL; ++i) {
    io_uring_params params{};
    params.flags = kSetupFlags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    params.cq_entries = entries * kCompletionsPerEntry;
    result = io_uring_queue_init_params(entries, &ring, &params);
  }
  if (result == -EPERM || result == -ENOSYS) {
    return Error{-result,
                 "cannot create an io_uring: set kernel.io_uring_disabled to 0 and let the "
                 "container's seccomp profile allow io_uring_setup"};
  }
  if (result < 0) return Error{-result, "cannot create an io_uring for the volume's loop"};
  ring_open = true;
  return {};
}

void Loop::CloseRing() {
  State& state = *state_;
  WEIR_CHECK(state.ring_open);
  io_uring_queue_exit(&state.ring);
  state.ring_open = false;
  state.enabled = false;
  state.timer_armed = false;
  state.armed_due_ns = 0;
}

Result<void> Loop::OpenRing() {
  State& state = *state_;
  WEIR_CHECK(!state.ring_open);
  if (const auto opened = state.OpenRing(); !opened.ok()) return opened;
  state.stop.store(false, std::memory_order_release);
  // The wake of a task that was posted meanwhile may have gone down with the old ring.
  state.Wake();
  return {};
}

Loop::Loop(std::unique_ptr<State> state) : state_(std::move(state)) {}

// May run on another thread than Run() did, and should: on Linux 6.12 a ring that still holds ublk
// commands must be closed only after its thread has ended.
Loop::~Loop() = default;

void Loop::Run() {
  State& state = *state_;
  const SignalsBlocked blocked;
  WEIR_CHECK(!state.enabled && io_uring_enable_rings(&state.ring) >= 0);
  state.enabled = true;
  // Saves the file lookup in every enter; older kernels do without.
  const bool fd_registered = io_uring_register_ring_fd(&state.ring) == 1;
  state.ArmWake(*this);
  while (!state.stop.load(std::memory_order_acquire)) {
    state.Enter(*this);
    now_ns_ = MonotonicNs();
    state.Dispatch();
    state.RunTimers(now_ns_);
    if (std::exchange(state.woken, false)) {
      state.ArmWake(*this);
      state.RunPosted();
    }
    state.RunHooks();
  }
  io_uring_submit(&state.ring);  // What the last round queued, such as ublk commits.
  // The registration belongs to this thread; ~Loop may run on another.
  if (fd_registered) io_uring_unregister_ring_fd(&state.ring);
}

void Loop::Stop() {
  state_->stop.store(true, std::memory_order_release);
  state_->Wake();
}

void Loop::Post(std::function<void()> task) {
  bool first = false;
  {
    const std::lock_guard lock(state_->posted_mutex);
    first = state_->posted.empty();
    state_->posted.push_back(std::move(task));
  }
  if (first) state_->Wake();
}

io_uring_sqe* Loop::Sqe(Completion* owner) {
  io_uring_sqe* sqe = io_uring_get_sqe(&state_->ring);
  while (sqe == nullptr) {
    // Before Run() nothing can be submitted, so the ring must be large enough for what is queued.
    WEIR_CHECK(state_->enabled);
    io_uring_submit(&state_->ring);
    sqe = io_uring_get_sqe(&state_->ring);
  }
  std::memset(sqe, 0, sizeof(*sqe));
  sqe->user_data = reinterpret_cast<uint64_t>(owner);
  return sqe;
}

void Loop::SubmitAnswers() {
  if (!answer_queued_ || state_->CompletionNear()) return;
  answer_queued_ = false;
  io_uring_submit(&state_->ring);
}

void Loop::AddRoundEnd(RoundOrder order, RoundEnd* hook) {
  state_->hooks[static_cast<size_t>(order)].push_back(hook);
}

void Loop::RemoveRoundEnd(RoundEnd* hook) {
  for (std::vector<RoundEnd*>& order : state_->hooks) {
    // The gap keeps the positions of a round that is going through the hooks right now.
    std::replace(order.begin(), order.end(), hook, static_cast<RoundEnd*>(nullptr));
  }
  state_->hooks_have_gaps = true;
}

void Loop::After(uint64_t delay_ns, std::function<void()> task) {
  State& state = *state_;
  state.timers.push_back(Timer{MonotonicNs() + delay_ns, state.timer_order++, std::move(task)});
  std::push_heap(state.timers.begin(), state.timers.end(), Later);
}

int Loop::ring_fd() const noexcept { return state_->ring.ring_fd; }

}  // namespace weir
