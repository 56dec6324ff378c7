// Serves a bare target, as the measure that a volume is compared with:
//   bare-target --kind null|file [--file F] [--size BYTES]
//               --nbd SOCKET | --ublk [--depth D] | --recover ID
// Prints "ready <socket or device>". SIGTERM ends it and removes the ublk device. SIGUSR1 ends it
// and leaves the device to a successor, which --recover ID takes over (likewise after SIGKILL).
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "engine/loop/loop.h"
#include "engine/nbd/nbd_server.h"
#include "engine/ublk/ublk_char_device.h"
#include "engine/ublk/ublk_control.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/ublk/ublk_queue.h"
#include "engine/volume/bare_device.h"

namespace {

constexpr uint32_t kQuiesceMs = 2000;

struct Options {
  std::string kind;
  std::string file;
  std::string nbd_socket;
  bool ublk = false;
  bool recover = false;
  uint32_t recover_id = 0;
  uint16_t depth = 128;
  uint64_t size_bytes = 1ULL << 30;
};

[[noreturn]] void Fail(const weir::Error& error) {
  std::fprintf(stderr, "bare-target: %s (%s)\n", error.what, std::strerror(error.code));
  std::exit(1);
}

[[noreturn]] void Usage() {
  std::fprintf(stderr,
               "usage: bare-target --kind null|file [--file F] [--size BYTES]\n"
               "                   --nbd SOCKET | --ublk [--depth D] | --recover ID\n");
  std::exit(2);
}

template <typename T>
T Must(weir::Result<T> result) {
  if (!result.ok()) Fail(result.error());
  return std::move(result.value());
}

void Must(const weir::Result<void>& result) {
  if (!result.ok()) Fail(result.error());
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--ublk") {
      options.ublk = true;
      continue;
    }
    if (i + 1 == argc) Usage();
    const std::string value = argv[++i];
    const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (name == "--kind") {
      options.kind = value;
    } else if (name == "--file") {
      options.file = value;
    } else if (name == "--nbd") {
      options.nbd_socket = value;
    } else if (name == "--size") {
      options.size_bytes = number;
    } else if (name == "--depth") {
      options.depth = static_cast<uint16_t>(number);
    } else if (name == "--recover") {
      options.ublk = options.recover = true;
      options.recover_id = static_cast<uint32_t>(number);
    } else {
      Usage();
    }
  }
  if (options.nbd_socket.empty() != options.ublk) Usage();
  return options;
}

void PrintReady(const std::string& where) {
  std::printf("ready %s\n", where.c_str());
  std::fflush(stdout);
}

void ServeNbd(const Options& options, weir::BlockDevice& device, const sigset_t& ends) {
  auto loop = Must(weir::Loop::Create(256));
  auto server = Must(weir::NbdServer::Listen(*loop, device, {options.nbd_socket, "bare"}));
  std::thread serving([&] { loop->Run(); });
  PrintReady(options.nbd_socket);
  int signal_number = 0;
  sigwait(&ends, &signal_number);
  loop->Post([&] { server->Close([&] { loop->Stop(); }); });
  serving.join();
}

// Runs `begin` on the loop thread and waits until the callback that it is given has run.
template <typename Begin>
void Await(weir::Loop& loop, Begin begin) {
  std::promise<void> done;
  loop.Post([&] { begin([&done] { done.set_value(); }); });
  done.get_future().wait();
}

void ServeUblk(const Options& options, weir::BlockDevice& device, const sigset_t& ends) {
  auto control = Must(weir::UblkControl::Open());
  weir::UblkDeviceInfo info;
  if (options.recover) {
    info = Must(control->Info(options.recover_id));
    Must(control->StartRecovery(info.id));
  } else {
    weir::UblkAddOptions add;
    add.queue_depth = options.depth;
    info = Must(control->Add(add));
    Must(control->SetParams(info.id, device.size_bytes(), info.max_io_bytes));
  }
  auto loop = Must(weir::Loop::Create(256));
  auto channel =
      Must(weir::UblkCharDevice::Open(info.id, info.queue_depth, weir::UblkControl::kDeadlineNs));
  auto queue =
      std::make_unique<weir::UblkQueue>(*loop, device, std::move(channel),
                                        weir::UblkQueueConfig{info.queue_depth, info.max_io_bytes});
  std::promise<void> all_aborted;
  loop->Post([&] { queue->Begin([&all_aborted] { all_aborted.set_value(); }); });
  std::thread serving([&] { loop->Run(); });
  Must(options.recover ? control->EndRecovery(info.id) : control->Start(info.id));
  PrintReady(Must(weir::EnsureUblkBlockNode(info.id, weir::UblkControl::kDeadlineNs)));

  int signal_number = 0;
  sigwait(&ends, &signal_number);
  const bool leave = signal_number == SIGUSR1;
  const bool quiesces = (info.features & weir::ublk::kFeatureQuiesce) != 0;
  if (leave) {
    Await(*loop, [&](auto done) { queue->Freeze(done); });
    if (quiesces) Must(control->Quiesce(info.id, kQuiesceMs));
  } else {
    Await(*loop, [](auto done) { done(); });  // Stop() requires it.
    Must(control->Stop(info.id));
  }
  if (!leave || quiesces) all_aborted.get_future().wait();
  // The order that Linux 6.12 needs: the thread ends, then its ring closes, then the device.
  loop->Stop();
  serving.join();
  loop.reset();
  queue.reset();
  if (!leave) Must(control->Delete(info.id));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  weir::NullDevice null_device(options.size_bytes);
  std::unique_ptr<weir::FileDevice> file_device;
  weir::BlockDevice* device = &null_device;
  if (options.kind == "file") {
    file_device = Must(weir::FileDevice::Open(options.file, options.size_bytes));
    device = file_device.get();
  } else if (options.kind != "null") {
    Usage();
  }
  if (options.ublk) {
    ServeUblk(options, *device, ends);
  } else {
    ServeNbd(options, *device, ends);
  }
  return 0;
}
