// Volumes on real journals without a bucket, handed from process to process: the window by itself,
// as a measure and as a test under a real kernel. Options of both commands: --run FOLDER,
// --volumes N, --size BYTES, --journal BYTES, --depth D, --transport ublk|nbd, --deadline MS.
//   handoff-target serve [--recover yes]  (recover: devices 0 to N-1, whose engine died)
//   handoff-target take                   prints a line of JSON about the handoff
// Then they print "ready <device or socket>..." and serve until another one takes over (status 0)
// or SIGTERM (which removes the devices). --fault STEP:kill|stop strikes this process at a step of
// its own taking, --give-fault at one of its giving, when the step comes for the --fault-at'th
// time.
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
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
#include "engine/handoff/on_loop.h"
#include "engine/handoff/owners.h"
#include "engine/handoff/rcu_guard.h"
#include "engine/handoff/taker.h"
#include "engine/volume/ublk_transport.h"

namespace {

using weir::GiveOutcome;
using weir::HandoffSocket;
using weir::TakeOutcome;
using weir::VolumeServer;

// The product's predecessor closes what it had when the successor says that it is complete; until
// then the successor has the processors to itself.
constexpr std::chrono::milliseconds kFarewell{100};

struct Options {
  bool take = false;
  std::string run;
  size_t volumes = 1;
  uint64_t size_bytes = 64ULL << 20;
  uint64_t journal_bytes = 1ULL << 30;
  uint16_t depth = 128;
  uint64_t deadline_ms = 10'000;
  bool ublk = true;
  bool recover = false;
  std::string fault;
  std::string give_fault;
  size_t fault_at = 1;  // strikes when the step comes for this time
};

[[noreturn]] void Fail(const char* what, int code) {
  std::fprintf(stderr, "handoff-target: %s (%s)\n", what, std::strerror(code));
  std::exit(1);
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
  if (argc < 2) Fail("the first argument is serve or take", EINVAL);
  options.take = std::string(argv[1]) == "take";
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (name == "--run") options.run = value;
    if (name == "--volumes") options.volumes = number;
    if (name == "--size") options.size_bytes = number;
    if (name == "--journal") options.journal_bytes = number;
    if (name == "--depth") options.depth = static_cast<uint16_t>(number);
    if (name == "--deadline") options.deadline_ms = number;
    if (name == "--transport") options.ublk = value == "ublk";
    if (name == "--recover") options.recover = value == "yes";
    if (name == "--fault") options.fault = value;
    if (name == "--give-fault") options.give_fault = value;
    if (name == "--fault-at") options.fault_at = number;
  }
  if (options.run.empty()) Fail("--run is missing", EINVAL);
  return options;
}

// Nothing was ever uploaded, so nothing is ever asked for.
class NoBucket final : public weir::VolumeHost {
 public:
  void OnFetchWanted(uint64_t, const weir::FrameKey&, uint32_t) override {}
  void OnChunkWanted(uint32_t) override {}
  void OnDirty(bool) override {}
  void OnFailed(weir::Error error) override {
    std::fprintf(stderr, "handoff-target: a volume failed: %s\n", error.what);
  }
};

class Engine {
 public:
  explicit Engine(const Options& options) : options_(options) {
    cache_ = Must(weir::CleanCache::Open({.directory = "", .ram_bytes = 1 << 20, .file_bytes = 0}));
    for (size_t i = 0; i < options.volumes; ++i) servers_.push_back(Open(i));
  }

  void StartTransports() {
    weir::RcuGuard(weir::RcuKeeper(options_.run + "/owners")).Restore();
    for (size_t i = 0; i < servers_.size(); ++i) {
      if (options_.ublk) {
        auto control = Must(weir::UblkControl::Open());
        const weir::UblkStart start{.id = options_.recover ? static_cast<int32_t>(i) : -1,
                                    .depth = options_.depth,
                                    .recover = options_.recover};
        Must(weir::StartUblk(*servers_[i], *control, start));
      } else {
        weir::OnLoopOf(*servers_[i], [&](VolumeServer& at) {
          at.nbd = Must(weir::NbdServer::Listen(at.loop(), at.volume(), NbdOf(i)));
        });
      }
    }
  }

  // Serves until another process took over, or SIGTERM.
  void Serve(uint64_t generation);
  TakeOutcome Take(HandoffSocket& socket, uint64_t generation);
  void Stop();

 private:
  static weir::Uid UidAt(size_t index) {
    weir::Uid uid;
    uid.bytes.fill(static_cast<std::byte>(index + 1));
    return uid;
  }
  [[nodiscard]] weir::NbdConfig NbdOf(size_t index) const {
    return {options_.run + "/" + std::to_string(index) + ".sock", "vol"};
  }
  std::unique_ptr<VolumeServer> Open(size_t index);
  [[nodiscard]] weir::WindowOptions WindowOf(HandoffSocket& socket, uint64_t generation,
                                             const std::string& fault) const;
  // True when the other process owns everything now.
  bool GiveTo(HandoffSocket& socket, uint64_t* generation);
  void PrintReady();

  const Options& options_;
  std::unique_ptr<weir::CleanCache> cache_;
  weir::Worker background_{0};
  weir::Worker foreground_{0};
  std::vector<std::unique_ptr<VolumeServer>> servers_;
};

std::unique_ptr<VolumeServer> Engine::Open(size_t index) {
  weir::VolumeConfig config;
  config.journal = {.directory = options_.run + "/journal" + std::to_string(index),
                    .volume = UidAt(index),
                    .journal_id = UidAt(index + 100),
                    .epoch = 1,
                    .capacity_bytes = options_.journal_bytes,
                    .file_bytes = 16U << 20};
  config.dirty_bytes_max = 2 * options_.journal_bytes;
  config.batch_bytes = UINT64_MAX;
  weir::VolumeBase base;
  base.committed = {UidAt(index), 0, 0};
  base.committed_blocks = options_.size_bytes / weir::kBlockBytes;
  auto server =
      std::make_unique<VolumeServer>(VolumeServer::Parts{.cache = cache_.get(),
                                                         .background = &background_,
                                                         .foreground = &foreground_,
                                                         .host = std::make_unique<NoBucket>()});
  std::promise<void> opened;
  server->Start(
      config, std::move(base),
      [&](weir::Result<weir::VolumeStats> stats) {
        (void)Must(stats);
        opened.set_value();
      },
      options_.take ? VolumeServer::Mode::kWarm : VolumeServer::Mode::kOwner);
  opened.get_future().wait();
  return server;
}

weir::WindowOptions Engine::WindowOf(HandoffSocket& socket, uint64_t generation,
                                     const std::string& fault) const {
  weir::WindowOptions window;
  window.socket = &socket;
  window.owners = options_.run + "/owners";
  window.generation = generation;
  window.identity = std::to_string(::getpid());
  window.deadline_ns = options_.deadline_ms * 1'000'000;
  window.batch = weir::BatchOfThisMachine();
  // Steps of several volumes, or batches, come from several threads.
  const auto times = std::make_shared<std::atomic<size_t>>(0);
  window.at_step = [fault, times, at = options_.fault_at](const char* step) {
    const std::string name = step;
    if (fault != name + ":kill" && fault != name + ":stop") return;
    if (times->fetch_add(1) + 1 != at) return;
    if (fault == name + ":kill") ::kill(::getpid(), SIGKILL);
    // To this thread: one sent to the process may stop another first while this one takes its step.
    ::pthread_kill(::pthread_self(), SIGSTOP);
  };
  return window;
}

TakeOutcome Engine::Take(HandoffSocket& socket, uint64_t generation) {
  std::vector<weir::TakeVolume> volumes;
  for (size_t i = 0; i < servers_.size(); ++i) {
    const auto transport =
        options_.ublk ? weir::window::Transport::kUblk : weir::window::Transport::kNbd;
    volumes.push_back({UidAt(i), servers_[i].get(), transport, NbdOf(i)});
  }
  return weir::TakeAll(WindowOf(socket, generation, options_.fault), volumes);
}

bool Engine::GiveTo(HandoffSocket& socket, uint64_t* generation) {
  const uint64_t until_ns = weir::MonotonicNs() + options_.deadline_ms * 1'000'000;
  for (const auto& server : servers_) {
    std::promise<void> settled;
    server->With(
        [&](VolumeServer& at) { at.volume().SetCalm(true, [&] { settled.set_value(); }); });
    settled.get_future().wait();
  }
  const auto* number = reinterpret_cast<const std::byte*>(generation);
  if (!socket.Send({number, sizeof(*generation)}, {}, until_ns).ok()) return false;
  std::vector<weir::GiveVolume> volumes;
  for (size_t i = 0; i < servers_.size(); ++i) volumes.push_back({UidAt(i), servers_[i].get()});
  const GiveOutcome outcome =
      weir::GiveAll(WindowOf(socket, *generation, options_.give_fault), volumes);
  if (outcome.kind == GiveOutcome::Kind::kGiven) return true;
  std::printf("{\"%s\":\"%s\"}\n", outcome.kind == GiveOutcome::Kind::kKept ? "kept" : "lost",
              outcome.reason.c_str());
  std::fflush(stdout);
  if (outcome.kind == GiveOutcome::Kind::kLost) return true;
  *generation = outcome.generation;
  return false;
}

void Engine::PrintReady() {
  std::string line = "ready";
  for (size_t i = 0; i < servers_.size(); ++i) {
    uint32_t id = 0;
    weir::OnLoopOf(*servers_[i], [&](VolumeServer& at) { id = at.ublk_id; });
    line += options_.ublk ? " /dev/ublkb" + std::to_string(id) : " " + NbdOf(i).socket_path;
  }
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void Engine::Serve(uint64_t generation) {
  auto listener = Must(weir::HandoffListener::Listen(options_.run + "/handoff.sock"));
  PrintReady();
  std::atomic<bool> ended{false};
  std::thread signals([&] {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGUSR2);
    int number = 0;
    sigwait(&ends, &number);
    ended = true;
    listener->Stop();
  });
  bool given = false;
  while (!given && !ended) {
    auto socket = listener->Accept();
    if (!socket.ok()) break;
    given = GiveTo(*socket.value(), &generation);
  }
  pthread_kill(signals.native_handle(), SIGUSR2);
  signals.join();
  if (given) std::this_thread::sleep_for(kFarewell);
  if (!given) Stop();
  for (const auto& server : servers_) server->Close();
}

void Engine::Stop() {
  auto control = options_.ublk ? Must(weir::UblkControl::Open()) : nullptr;
  for (const auto& server : servers_) {
    if (options_.ublk) Must(weir::StopUblk(*server, *control));
    std::promise<void> closed;
    server->With([&](VolumeServer& at) {
      if (at.nbd == nullptr) return closed.set_value();
      at.nbd->Close([&] { closed.set_value(); });
    });
    closed.get_future().wait();
  }
}

// As every process that starts and finds no other alive: it is the next owner.
uint64_t ClaimNext(const std::string& owners) {
  uint64_t generation = 1;
  while (weir::GenerationIsClaimed(owners, generation)) ++generation;
  const auto claim = Must(weir::ClaimGeneration(owners, generation, std::to_string(::getpid())));
  if (claim != weir::OwnerClaim::kMine) Fail("another process was first", EBUSY);
  return generation;
}

void PrintTaken(const TakeOutcome& outcome) {
  std::string line = "{\"outcome\":\"";
  line += outcome.kind == TakeOutcome::Kind::kTaken     ? "taken"
          : outcome.kind == TakeOutcome::Kind::kRefused ? "refused"
                                                        : "broken";
  line += "\",\"reason\":\"" + outcome.reason + "\",\"devices\":[";
  for (const weir::DeviceStall& device : outcome.devices) {
    if (line.back() == '}') line += ",";
    line += "{\"stallUs\":" + std::to_string(device.stall_us) +
            ",\"beginNs\":" + std::to_string(device.begin_ns) +
            ",\"endNs\":" + std::to_string(device.end_ns);
    for (const auto& [name, us] : device.phases_us) {
      line += std::string(",\"") + name + "\":" + std::to_string(us);
    }
    line += "}";
  }
  std::printf("%s]}\n", line.c_str());
  std::fflush(stdout);
}

int TakeAndServe(const Options& options) {
  auto socket = Must(HandoffSocket::Connect(options.run + "/handoff.sock"));
  const uint64_t until_ns = weir::MonotonicNs() + options.deadline_ms * 1'000'000;
  const auto hello = Must(socket->Receive(until_ns));
  uint64_t generation = 0;
  if (hello.bytes.size() != sizeof(generation)) Fail("no generation was sent", EPROTO);
  std::memcpy(&generation, hello.bytes.data(), sizeof(generation));
  Engine engine(options);
  const TakeOutcome outcome = engine.Take(*socket, generation);
  PrintTaken(outcome);
  if (outcome.kind != TakeOutcome::Kind::kTaken) std::_Exit(1);
  engine.Serve(generation + 1);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  ::mkdir(options.run.c_str(), 0700);
  ::mkdir((options.run + "/owners").c_str(), 0700);
  if (options.take) return TakeAndServe(options);
  Engine engine(options);
  const uint64_t generation = ClaimNext(options.run + "/owners");
  engine.StartTransports();
  engine.Serve(generation);
  return 0;
}
