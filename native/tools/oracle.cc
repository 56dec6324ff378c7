// The oracle: writes to a block device, keeps an independent log of what it promised, and decides
// afterwards whether the device kept its promises across crashes (ARCHITECTURE.md, I1 to I4 and
// I8).
//
//   oracle run    --target T --log FILE --blocks N [--seconds S | --ops N] [--seed X] [--depth 32]
//                 [--sizes 1-32] [--flush-every 64] [--fua-percent 5] [--trim-percent 5]
//                 [--zero-percent 5] [--read-percent 20] [--rate OPS] [--flush-at-end]
//                 [--stall-seconds 120] [--connect-seconds 10]
//   oracle verify --target T --log FILE [--expect acked|flushed|image] [--settle] [--depth 32]
//   oracle plant  --target T --log FILE --kind K [--expect ...] [--seed X]
//
// T is nbd:SOCKET, nbd:SOCKET#EXPORT or dev:PATH. The log belongs on a tmpfs, or wherever it
// outlives what is tested; --seed names the history in every stamp, so logs that share a bucket
// need different seeds. The first run finds a device that reads as zeroes. Later runs append to the
// same log, across kills and restarts and a growth of the device. A copy of the log taken with a
// snapshot verifies a clone of it.
//
// run ends by time, by number of operations or by SIGTERM (status "done" or "stopped"), or with the
// server ("disconnected"): unanswered operations then may or may not have happened. Each read is
// judged at once. A device node must never fail a request, an NBD server may.
//
// verify reads every block. --expect says what is owed:
//   acked    (default) after a process death: everything acknowledged, with or without a flush;
//   flushed  after a power cut: all that FLUSH or FUA covered, and of the rest a prefix;
//   image    at some committed position of the log: a prefix, however old. Not older than the last
//            --settle: what lay before it is reported as stale.
// Operations that were never answered may be there or not in each case (--after-crash says so too
// and changes nothing). --scope flushed and --scope s3 are other words for --expect flushed and
// image. --settle flushes the target and makes what was found the base of the log; it is necessary
// after a power cut or a rollback, and useful after a process death, to keep the log short.
//
// plant changes one block behind the log's back: K is lost, stale, torn, zeroed, misplaced, foreign
// or prefix; verify with the same --expect must then find exactly that.
//
// Prints one JSON line. Exit 0: kept. Exit 1: findings. Exit 2: it could not be decided (wrong
// usage, target unreachable, protocol error, or a run that stalled), with the reason as "error" or
// "status".
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <cstring>

#include "oracle/json_line.h"
#include "oracle/options.h"
#include "oracle/report.h"

namespace {

namespace oracle = weir::oracle;

constexpr int kKept = 0;
constexpr int kFound = 1;
constexpr int kUndecided = 2;

std::atomic<bool> stop_asked = false;

void AskToStop(int) { stop_asked = true; }

int Fail(const weir::Error& error) {
  const std::string line =
      oracle::JsonLine().Text("error", error.what).Text("reason", std::strerror(error.code)).Done();
  std::puts(line.c_str());
  return kUndecided;
}

template <typename Report>
int Print(const Report& report) {
  std::puts(oracle::ToJson(report).c_str());
  return report.findings.total() > 0 ? kFound : kKept;
}

int RunCommand(oracle::Target& target, oracle::RunOptions options) {
  struct sigaction action {};
  action.sa_handler = AskToStop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  options.stop = &stop_asked;
  auto runner = oracle::Runner::Open(options, target);
  if (!runner.ok()) return Fail(runner.error());
  auto report = runner.value()->Run();
  if (!report.ok()) return Fail(report.error());
  const int code = Print(report.value());
  const bool stalled = report.value().status == oracle::RunStatus::kStalled;
  return code == kKept && stalled ? kUndecided : code;
}

int VerifyCommand(oracle::Target& target, const oracle::VerifyOptions& options) {
  auto report = oracle::Verify(target, options);
  return report.ok() ? Print(report.value()) : Fail(report.error());
}

int PlantCommand(oracle::Target& target, const oracle::PlantOptions& options) {
  auto planted = oracle::Plant(target, options);
  if (!planted.ok()) return Fail(planted.error());
  std::puts(oracle::ToJson(options, planted.value()).c_str());
  return kKept;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = std::span(argv, static_cast<size_t>(argc)).subspan(1);
  const auto parsed = oracle::ParseOptions(arguments);
  if (!parsed.options) {
    const std::string line = oracle::JsonLine().Text("error", parsed.problem).Done();
    std::puts(line.c_str());
    return kUndecided;
  }
  auto target = oracle::OpenTarget(parsed.options->target);
  if (!target.ok()) return Fail(target.error());
  switch (parsed.options->command) {
    case oracle::Command::kRun:
      return RunCommand(*target.value(), parsed.options->run);
    case oracle::Command::kVerify:
      return VerifyCommand(*target.value(), parsed.options->verify);
    case oracle::Command::kPlant:
      break;
  }
  return PlantCommand(*target.value(), parsed.options->plant);
}
