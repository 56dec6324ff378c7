// The floor of a handoff: what the kernel alone takes to give a ublk device from one process to
// another. Two processes of null servers, warm from the start, hand their devices to and fro by the
// transitions of a real handoff (engine/volume/ublk_transport.h) and do nothing else: no journal,
// no protocol, no owner.
//   handoff-floor [--devices 1] [--depth 128] [--size BYTES] [--wait SECONDS] [--every MS]
//                 [--handoffs 50]
// Prints "ready", after --wait seconds a line of JSON for each handoff, as handoff-target does, and
// "done". SIGTERM ends it and removes the devices.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/crew.h"
#include "engine/handoff/handoff_socket.h"
#include "engine/handoff/rcu_guard.h"
#include "engine/loop/loop.h"
#include "engine/ublk/ublk_char_device.h"
#include "engine/ublk/ublk_control.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/ublk/ublk_queue.h"
#include "engine/ublk/ublk_settle.h"
#include "engine/volume/bare_device.h"

namespace {

using weir::UblkControl;
using weir::UblkDeviceInfo;

// Longer than the first one waits for.
constexpr uint64_t kMessageNs = 3600'000'000'000ULL;

struct Options {
  size_t devices = 1;
  uint16_t depth = 128;
  uint64_t size_bytes = 64ULL << 20;
  uint64_t wait_s = 0;
  uint64_t every_ms = 200;
  uint64_t handoffs = 50;
};

[[noreturn]] void Fail(const char* what, int code) {
  std::fprintf(stderr, "handoff-floor: %s (%s)\n", what, std::strerror(code));
  std::_Exit(1);
}

template <typename T>
T Must(weir::Result<T> result) {
  if (!result.ok()) Fail(result.error().what, result.error().code);
  return std::move(result.value());
}

void Must(const weir::Result<void>& result) {
  if (!result.ok()) Fail(result.error().what, result.error().code);
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const uint64_t number = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--devices") options.devices = number;
    if (name == "--depth") options.depth = static_cast<uint16_t>(number);
    if (name == "--size") options.size_bytes = number;
    if (name == "--wait") options.wait_s = number;
    if (name == "--every") options.every_ms = number;
    if (name == "--handoffs") options.handoffs = number;
  }
  return options;
}

void Sleep(uint64_t ms) {
  const timespec pause{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  ::nanosleep(&pause, nullptr);
}

// What the one that leaves a device tells the other.
struct Left {
  uint64_t device = 0;
  uint64_t begin_ns = 0;
};

// One device in one of the processes.
class Seat {
 public:
  Seat(UblkDeviceInfo info, uint64_t size_bytes)
      : info_(info),
        quiesces_((info.features & weir::ublk::kFeatureQuiesce) != 0),
        device_(size_bytes),
        control_(Must(UblkControl::Open())),
        loop_(Must(weir::Loop::Create(512))),
        thread_([this] { loop_->Run(); }) {}
  ~Seat() {
    loop_->Stop();
    if (thread_.joinable()) thread_.join();
    loop_.reset();
    queue_.reset();
  }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

  // Wakes the control ring's worker, which then is there in the handoff.
  void Warm() { (void)Must(control_->GetFeatures()); }
  void Open();
  void Fetch();
  void Take() {
    Open();
    Fetch();
    if (!weir::UblkQueueStandsStill()) {
      // Submitted at the end of the round: a task of a task runs after that.
      Await([this](const auto& done) { loop_->Post([this, done] { loop_->Post(done); }); });
      weir::SettleUblkRequeues();
    }
    Must(control_->EndRecovery(info_.id));
  }
  void Start() {
    Open();
    Fetch();
    Must(control_->Start(info_.id));
  }
  Left Leave(uint64_t place);
  // After Leave(): ready to take the device again.
  void Rest();
  void Remove();

 private:
  template <typename Begin>
  void Await(Begin begin) {
    std::promise<void> done;
    loop_->Post([&] { begin([&done] { done.set_value(); }); });
    done.get_future().wait();
  }

  const UblkDeviceInfo info_;
  const bool quiesces_;
  const bool worker_runs_through_ = weir::UblkWorkerRunsThrough();
  weir::NullDevice device_;
  std::unique_ptr<UblkControl> control_;
  std::unique_ptr<weir::Loop> loop_;
  std::unique_ptr<weir::UblkQueue> queue_;
  std::promise<void> aborted_;
  std::thread thread_;
};

void Seat::Open() {
  auto channel =
      Must(weir::UblkCharDevice::Open(info_.id, info_.queue_depth, UblkControl::kDeadlineNs));
  queue_ = std::make_unique<weir::UblkQueue>(
      *loop_, device_, std::move(channel),
      weir::UblkQueueConfig{info_.queue_depth, info_.max_io_bytes});
}

void Seat::Fetch() {
  aborted_ = {};
  Await([this](const auto& done) {
    queue_->Begin([this] { aborted_.set_value(); });
    done();
  });
}

Left Seat::Leave(uint64_t place) {
  Left left{.device = place};
  Await([&](const auto& done) {
    left.begin_ns = weir::MonotonicNs();
    queue_->Freeze(done);
  });
  if (quiesces_) {
    const auto all_taken = aborted_.get_future();
    do {
      Must(control_->Quiesce(info_.id, 2000));  // Again and again, as LeaveUblk() does.
    } while (all_taken.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready);
    queue_.reset();
    return left;
  }
  loop_->Stop();
  thread_.join();
  loop_->CloseRing();
  while (Must(control_->Info(info_.id)).state != weir::UblkState::kQuiesced) {
    const timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
  }
  weir::SettleUblkWorker(worker_runs_through_);
  queue_.reset();
  Must(control_->StartRecovery(info_.id, true));
  return left;
}

void Seat::Rest() {
  if (quiesces_) return;
  Must(loop_->OpenRing());
  thread_ = std::thread([this] { loop_->Run(); });
}

void Seat::Remove() {
  Await([](const auto& done) { done(); });  // Stop() requires it.
  Must(control_->Stop(info_.id));
  aborted_.get_future().wait();
  queue_.reset();
  Must(control_->Delete(info_.id));
}

// One of the two processes.
class Process {
 public:
  Process(const Options& options, const std::vector<UblkDeviceInfo>& devices,
          weir::HandoffSocket& socket)
      : socket_(socket), crew_(devices.size()), rcu_("/run/handoff-floor.rcu") {
    for (const UblkDeviceInfo& info : devices) {
      seats_.push_back(std::make_unique<Seat>(info, options.size_bytes));
    }
  }

  void Start() {
    crew_.All([this](size_t at) { seats_[at]->Start(); });
  }
  void Give();
  void Take();
  void Remove() {
    crew_.All([this](size_t at) { seats_[at]->Remove(); });
  }

 private:
  void Warm() {
    crew_.All([this](size_t at) { seats_[at]->Warm(); });
  }
  void Nudge() {
    const std::byte nudge{};
    Must(socket_.Send({&nudge, 1}, {}, weir::MonotonicNs() + kMessageNs));
  }
  void AwaitMessage() { (void)Must(socket_.Receive(weir::MonotonicNs() + kMessageNs)); }

  weir::HandoffSocket& socket_;
  std::vector<std::unique_ptr<Seat>> seats_;
  weir::Crew crew_;  // Behind the seats: its jobs use them.
  weir::RcuGuard rcu_;
};

void Process::Give() {
  Warm();
  Nudge();  // The other one warms up.
  AwaitMessage();
  rcu_.Expedite();
  crew_.All([this](size_t at) {
    const Left left = seats_[at]->Leave(at);
    const auto* bytes = reinterpret_cast<const std::byte*>(&left);
    Must(socket_.Send({bytes, sizeof(left)}, {}, weir::MonotonicNs() + kMessageNs));
  });
  AwaitMessage();
  rcu_.Restore();
  crew_.All([this](size_t at) { seats_[at]->Rest(); });
}

void Process::Take() {
  AwaitMessage();
  Warm();
  Nudge();
  std::vector<std::string> lines(seats_.size());
  for (size_t i = 0; i < seats_.size(); ++i) {
    const auto received = Must(socket_.Receive(weir::MonotonicNs() + kMessageNs));
    Left left;
    if (received.bytes.size() != sizeof(left)) Fail("a message is no message", EPROTO);
    std::memcpy(&left, received.bytes.data(), sizeof(left));
    crew_.Give(left.device, [this, left, &lines] {
      seats_[left.device]->Take();
      const uint64_t end_ns = weir::MonotonicNs();
      lines[left.device] = "{\"stallUs\":" + std::to_string((end_ns - left.begin_ns) / 1000) +
                           ",\"beginNs\":" + std::to_string(left.begin_ns) +
                           ",\"endNs\":" + std::to_string(end_ns) + "}";
    });
  }
  crew_.Wait();
  Nudge();
  std::string all;
  for (const std::string& line : lines) all += (all.empty() ? "" : ",") + line;
  std::printf("{\"outcome\":\"taken\",\"devices\":[%s]}\n", all.c_str());
  std::fflush(stdout);
}

std::vector<UblkDeviceInfo> AddDevices(const Options& options) {
  auto control = Must(UblkControl::Open());
  std::vector<UblkDeviceInfo> devices;
  for (size_t i = 0; i < options.devices; ++i) {
    weir::UblkAddOptions add;
    add.queue_depth = options.depth;
    devices.push_back(Must(control->Add(add)));
    Must(control->SetParams(devices.back().id, options.size_bytes, devices.back().max_io_bytes));
  }
  return devices;
}

void PrintReady(const std::vector<UblkDeviceInfo>& devices) {
  std::string line = "ready";
  for (const UblkDeviceInfo& info : devices) {
    line += " " + Must(weir::EnsureUblkBlockNode(info.id, UblkControl::kDeadlineNs));
  }
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

// The first process gives first; whoever has the devices after the last handoff removes them.
void Live(const Options& options, const std::vector<UblkDeviceInfo>& devices,
          weir::HandoffSocket& socket, bool first) {
  Process process(options, devices, socket);
  if (first) {
    process.Start();
    PrintReady(devices);
    Sleep(options.wait_s * 1000);
  }
  for (uint64_t count = 0; count < options.handoffs; ++count) {
    const bool gives = first == (count % 2 == 0);
    if (gives) {
      Sleep(options.every_ms);
      process.Give();
    } else {
      process.Take();
    }
  }
  const bool has_devices = first == (options.handoffs % 2 == 0);
  if (!has_devices) return;
  std::printf("done\n");
  std::fflush(stdout);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  int number = 0;
  sigwait(&ends, &number);
  process.Remove();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  // Each of the processes waits for it when it has nothing else to do.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  const auto devices = AddDevices(options);
  auto [first, second] = weir::HandoffSocket::Pair();
  const pid_t child = ::fork();
  if (child < 0) Fail("cannot start a process", errno);
  if (child == 0) {
    first.reset();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Live(options, devices, *second, false);
    return 0;
  }
  second.reset();
  Live(options, devices, *first, true);
  // The child may have the devices: a signal ends it there.
  if (options.handoffs % 2 != 0) {
    int number = 0;
    sigwait(&ends, &number);
    ::kill(child, SIGTERM);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
