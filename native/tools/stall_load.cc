// Load that remembers how long each single request took, to see what a handoff costs its users.
//   stall-load --out FILE [--depth 8] [--pause-us 0] [--blocks 4096] DEVICE...
// Keeps `depth` requests of 4 KiB in flight on each device, half of them writes, each slot with a
// pause after its answer. At SIGTERM it writes one line for each request: the device's place in the
// arguments, when it was sent and when it was answered (CLOCK_MONOTONIC, nanoseconds). Status 1: a
// request failed.
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/base/monotonic_clock.h"
#include "engine/base/types.h"
#include "engine/base/unique_fd.h"

namespace {

using weir::kBlockBytes;

std::atomic<bool> stop_asked = false;

void AskToStop(int) { stop_asked = true; }

[[noreturn]] void Fail(const char* what, int code) {
  std::fprintf(stderr, "stall-load: %s (%s)\n", what, std::strerror(code));
  std::exit(1);
}

struct Options {
  std::string out;
  std::vector<std::string> devices;
  uint32_t depth = 8;
  uint64_t pause_ns = 0;
  uint64_t blocks = 4096;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0) {
      options.devices.push_back(name);
      continue;
    }
    if (i + 1 == argc) Fail("an option lacks its value", EINVAL);
    const std::string value = argv[++i];
    const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (name == "--out") options.out = value;
    if (name == "--depth") options.depth = static_cast<uint32_t>(number);
    if (name == "--pause-us") options.pause_ns = number * 1000;
    if (name == "--blocks") options.blocks = number;
  }
  if (options.out.empty() || options.devices.empty()) Fail("--out and a device are needed", EINVAL);
  return options;
}

// One request at a time, again and again.
struct Slot {
  uint32_t device = 0;
  uint64_t due_ns = 0;
  uint64_t sent_ns = 0;
  bool in_flight = false;
  std::byte* buffer = nullptr;
};

struct Sample {
  uint32_t device = 0;
  uint64_t sent_ns = 0;
  uint64_t answered_ns = 0;
};

class Load {
 public:
  explicit Load(const Options& options) : options_(options) {
    for (const std::string& path : options.devices) {
      fds_.emplace_back(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
      if (!fds_.back().valid()) Fail("cannot open a device", errno);
    }
    const size_t count = options.devices.size() * options.depth;
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, count * kBlockBytes)));
    std::memset(memory_.get(), 0x5a, count * kBlockBytes);
    for (size_t i = 0; i < count; ++i) {
      slots_.push_back({.device = static_cast<uint32_t>(i / options.depth),
                        // Not all at once: pauses would keep them together.
                        .due_ns = weir::MonotonicNs() + options.pause_ns * i / count,
                        .buffer = memory_.get() + i * kBlockBytes});
    }
    // Touched and big enough: to grow it, or its memory page by page, would stall the load itself.
    samples_.resize(1 << 22);
    samples_.clear();
    const int made = io_uring_queue_init(static_cast<unsigned>(count), &ring_, 0);
    if (made < 0) Fail("cannot create an io_uring", -made);
  }
  ~Load() { io_uring_queue_exit(&ring_); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void Run();
  void Write() const;

 private:
  void Send(Slot& slot);
  void Reap();
  [[nodiscard]] uint64_t WaitNs() const;

  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  const Options& options_;
  std::vector<weir::UniqueFd> fds_;
  std::unique_ptr<std::byte, Free> memory_;
  std::vector<Slot> slots_;
  std::vector<Sample> samples_;
  std::mt19937_64 random_{7};
  size_t in_flight_ = 0;
  io_uring ring_{};
};

void Load::Send(Slot& slot) {
  const uint64_t random = random_();
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  const int fd = fds_[slot.device].get();
  const uint64_t offset_bytes = (random >> 1) % options_.blocks * kBlockBytes;
  if ((random & 1) != 0) {
    io_uring_prep_write(sqe, fd, slot.buffer, kBlockBytes, offset_bytes);
  } else {
    io_uring_prep_read(sqe, fd, slot.buffer, kBlockBytes, offset_bytes);
  }
  io_uring_sqe_set_data(sqe, &slot);
  slot.in_flight = true;
  slot.sent_ns = weir::MonotonicNs();
  ++in_flight_;
}

void Load::Reap() {
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
    const uint64_t now_ns = weir::MonotonicNs();
    auto& slot = *static_cast<Slot*>(io_uring_cqe_get_data(cqe));
    if (cqe->res != static_cast<int>(kBlockBytes)) Fail("a request failed", std::max(-cqe->res, 0));
    io_uring_cqe_seen(&ring_, cqe);
    samples_.push_back({slot.device, slot.sent_ns, now_ns});
    slot.in_flight = false;
    slot.due_ns = now_ns + options_.pause_ns;
    --in_flight_;
  }
}

uint64_t Load::WaitNs() const {
  uint64_t due_ns = UINT64_MAX;
  for (const Slot& slot : slots_) {
    if (!slot.in_flight) due_ns = std::min(due_ns, slot.due_ns);
  }
  const uint64_t now_ns = weir::MonotonicNs();
  constexpr uint64_t kLookNs = 100'000'000;  // at the signal
  return due_ns > now_ns ? std::min(due_ns - now_ns, kLookNs) : 0;
}

void Load::Run() {
  while (!stop_asked || in_flight_ > 0) {
    const uint64_t now_ns = weir::MonotonicNs();
    for (Slot& slot : slots_) {
      if (!slot.in_flight && slot.due_ns <= now_ns && !stop_asked) Send(slot);
    }
    io_uring_submit(&ring_);
    const uint64_t wait_ns = WaitNs();
    if (wait_ns > 0 || stop_asked) {
      __kernel_timespec wait{0, static_cast<long long>(std::max<uint64_t>(wait_ns, 1'000'000))};
      if (!stop_asked) wait.tv_nsec = static_cast<long long>(wait_ns);
      io_uring_cqe* cqe = nullptr;
      (void)io_uring_wait_cqe_timeout(&ring_, &cqe, &wait);
    }
    Reap();
  }
}

void Load::Write() const {
  std::FILE* out = std::fopen(options_.out.c_str(), "w");
  if (out == nullptr) Fail("cannot write the samples", errno);
  for (const Sample& sample : samples_) {
    std::fprintf(out, "%u %llu %llu\n", sample.device,
                 static_cast<unsigned long long>(sample.sent_ns),
                 static_cast<unsigned long long>(sample.answered_ns));
  }
  if (std::fclose(out) != 0) Fail("cannot write the samples", errno);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  struct sigaction action {};
  action.sa_handler = AskToStop;
  ::sigaction(SIGTERM, &action, nullptr);
  Load load(options);
  load.Run();
  load.Write();
  return 0;
}
