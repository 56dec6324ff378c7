#include "engine/ublk/ublk_settle.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace weir {
namespace {

constexpr long kSettleNs = 10'000'000;

// A kernel that chooses at boot says only there what it chose: "none (voluntary) full lazy".
constexpr const char* kChoice = "/sys/kernel/debug/sched/preempt";

bool VisitEveryCpu() {
  cpu_set_t before;
  CPU_ZERO(&before);
  if (::sched_getaffinity(0, sizeof(before), &before) != 0) return false;
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  const long possible = ::sysconf(_SC_NPROCESSORS_CONF);
  const int here = ::sched_getcpu();  // visited already: it is where QUIESCED was seen, or later
  long visited = 0;
  for (int cpu = 0; cpu < possible && cpu < CPU_SETSIZE; ++cpu) {
    if (cpu == here) {
      ++visited;
      continue;
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (::sched_setaffinity(0, sizeof(one), &one) == 0) ++visited;
  }
  (void)::sched_setaffinity(0, sizeof(before), &before);
  return online > 0 && visited >= online;
}

void Pause() {
  const timespec pause{0, kSettleNs};
  ::nanosleep(&pause, nullptr);
}

}  // namespace

bool UblkWorkerRunsThrough() {
  utsname name{};
  if (::uname(&name) != 0) return false;
  if (std::strstr(name.version, "PREEMPT") == nullptr) return true;
  std::ifstream file(kChoice);
  std::string choice;
  std::getline(file, choice);
  return choice.find("(none)") != std::string::npos ||
         choice.find("(voluntary)") != std::string::npos;
}

void SettleUblkWorker(bool worker_runs_through) {
  if (!worker_runs_through || !VisitEveryCpu()) Pause();
}

// Where the name is not understood, the kernel is taken for a new one.
bool UblkQueueStandsStill() {
  utsname name{};
  if (::uname(&name) != 0) return false;
  char* rest = nullptr;
  const unsigned long major = std::strtoul(name.release, &rest, 10);
  if (major == 0 || *rest != '.') return false;
  const unsigned long minor = std::strtoul(rest + 1, nullptr, 10);
  return major < 6 || (major == 6 && minor < 15);
}

void SettleUblkRequeues() {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) Pause();
}

}  // namespace weir
