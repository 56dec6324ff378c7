// A run: the workload against the target, every operation logged before it is sent and after it was
// answered. The answers of one round and the operations of the next go into the log in one write.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <vector>

#include "oracle/buffers.h"
#include "oracle/live_model.h"
#include "oracle/log_file.h"
#include "oracle/target.h"
#include "oracle/workload.h"

namespace weir::oracle {

enum class RunStatus {
  kDone,          // the time or number of operations is up and everything was answered
  kStopped,       // told to stop, and everything was answered
  kDisconnected,  // the server went away
  kStalled        // nothing was answered for the stall time
};

struct RunOptions {
  std::string log_path;
  uint64_t seed = 1;
  uint32_t depth = 32;
  std::optional<double> seconds = {};
  std::optional<uint64_t> op_count = {};
  uint32_t rate = 0;  // operations per second; 0 is unlimited
  uint32_t stall_seconds = 120;
  bool flush_at_end = false;
  WorkloadOptions workload = {};
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler
};

struct RunReport {
  RunStatus status = RunStatus::kDone;
  uint64_t submitted[5] = {};  // by Op
  uint64_t acked[5] = {};
  uint64_t errors = 0;
  uint64_t in_flight = 0;  // unanswered at the end
  double seconds = 0;
  Findings findings;
};

class Runner {
 public:
  // Reads the log that there may be, and begins a run in it.
  [[nodiscard]] static Result<std::unique_ptr<Runner>> Open(const RunOptions& options,
                                                            Target& target);
  [[nodiscard]] Result<RunReport> Run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    uint64_t id = 0;
    NextOp what;
  };
  struct Parts {
    LogWriter log;
    LiveModel model;
    uint64_t lineage = 0;
    uint64_t next_id = 1;
  };

  Runner(const RunOptions& options, Target& target, Parts parts);
  [[nodiscard]] Result<void> Round();
  [[nodiscard]] bool MaySubmit() const;
  void StageOps();
  void Stage(const NextOp& next);
  void StageFinalFlush();
  [[nodiscard]] bool IsOver() const;
  [[nodiscard]] int WaitMs() const;
  void Answered(const Completion& completion);
  void CheckRead(const Slot& slot, uint32_t index);
  [[nodiscard]] double SecondsSinceStart() const;
  [[nodiscard]] uint64_t SubmittedTotal() const;

  RunOptions options_;
  Target& target_;
  LogWriter log_;
  LiveModel model_;
  Workload workload_;
  SlotBuffers buffers_;
  uint64_t lineage_;
  uint64_t next_id_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<Request> requests_;   // of this round
  std::vector<LogRecord> records_;  // not yet in the log
  std::vector<Completion> done_;
  bool final_flush_sent_ = false;
  Clock::time_point started_;
  Clock::time_point last_answer_;
  RunReport report_;
};

}  // namespace weir::oracle
