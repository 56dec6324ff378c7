// The rounds of a run.
#include "oracle/runner.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <numeric>

#include "oracle/op_table.h"

namespace weir::oracle {
namespace {

constexpr int kWaitMsMax = 200;

}  // namespace

Result<std::unique_ptr<Runner>> Runner::Open(const RunOptions& options, Target& target) {
  const uint64_t blocks = options.workload.blocks;
  if (target.blocks() < blocks) return Error{EINVAL, "the target is smaller than --blocks"};
  auto log = LogWriter::Open(
      {.path = options.log_path, .lineage = Mix(options.seed ^ blocks), .blocks = blocks});
  if (!log.ok()) return log.error();
  LogRecord run{.kind = RecordKind::kRun, .id = options.seed, .first_block = blocks};
  if (auto begun = log.value().Append({&run, 1}); !begun.ok()) return begun.error();
  auto view = LogView::Open(options.log_path);
  if (!view.ok()) return view.error();
  const History& history = view.value().history();
  if (history.blocks > blocks) {
    return Error{EINVAL, "the log speaks of more blocks than --blocks; a device never shrinks"};
  }
  const OpTable ops(history);
  Parts parts{.log = std::move(log.value()),
              .model = LiveModel(history, ops),
              .lineage = history.lineage,
              .next_id = ops.next_id()};
  return std::unique_ptr<Runner>(new Runner(options, target, std::move(parts)));
}

Runner::Runner(const RunOptions& options, Target& target, Parts parts)
    : options_(options),
      target_(target),
      log_(std::move(parts.log)),
      model_(std::move(parts.model)),
      // Another run with the same seed goes another way.
      workload_(options.workload, Mix(options.seed ^ Mix(parts.next_id))),
      buffers_(options.depth, options.workload.blocks_max),
      lineage_(parts.lineage),
      next_id_(parts.next_id),
      slots_(options.depth),
      free_slots_(options.depth) {
  std::iota(free_slots_.rbegin(), free_slots_.rend(), 0U);
}

Result<RunReport> Runner::Run() {
  started_ = last_answer_ = Clock::now();
  Result<void> round;
  while (round.ok() && !IsOver()) {
    round = Round();
    const auto silence = Clock::now() - last_answer_;
    const bool waiting = free_slots_.size() < slots_.size();
    if (waiting && silence > std::chrono::seconds(options_.stall_seconds)) {
      report_.status = RunStatus::kStalled;
      break;
    }
  }
  // What was answered last is not lost with the round that would have logged it.
  if (auto logged = log_.Append(records_); !logged.ok()) return logged.error();
  if (!round.ok()) {
    if (round.error().code != kTargetGone) return round.error();
    report_.status = RunStatus::kDisconnected;
  } else if (report_.status != RunStatus::kStalled && options_.stop != nullptr && *options_.stop) {
    report_.status = RunStatus::kStopped;
  }
  report_.in_flight = slots_.size() - free_slots_.size();
  report_.seconds = SecondsSinceStart();
  return report_;
}

Result<void> Runner::Round() {
  StageOps();
  StageFinalFlush();
  if (!records_.empty()) {
    if (auto logged = log_.Append(records_); !logged.ok()) return logged;
    records_.clear();
  }
  if (!requests_.empty()) {
    auto sent = target_.Submit(requests_);
    requests_.clear();
    if (!sent.ok()) return sent;
  }
  done_.clear();
  auto waited = target_.Wait(WaitMs(), done_);
  for (const Completion& completion : done_) Answered(completion);
  return waited;
}

bool Runner::MaySubmit() const {
  if (options_.stop != nullptr && *options_.stop) return false;
  if (options_.op_count && SubmittedTotal() >= *options_.op_count) return false;
  const double elapsed = SecondsSinceStart();
  if (options_.seconds && elapsed >= *options_.seconds) return false;
  return true;
}

void Runner::StageOps() {
  while (!free_slots_.empty() && MaySubmit()) {
    const auto due = static_cast<double>(SubmittedTotal());
    if (options_.rate != 0 && due >= SecondsSinceStart() * options_.rate) return;
    const auto next = workload_.Next(model_);
    if (!next) return;
    Stage(*next);
  }
}

// The flush at the end covers everything: it waits until nothing else is outstanding.
void Runner::StageFinalFlush() {
  const bool idle = free_slots_.size() == slots_.size();
  if (!options_.flush_at_end || final_flush_sent_ || !idle || MaySubmit()) return;
  final_flush_sent_ = true;
  Stage({.op = Op::kFlush});
}

void Runner::Stage(const NextOp& next) {
  const uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.what = next;
  ++report_.submitted[static_cast<size_t>(next.op)];
  model_.Begin(next.op, next.range);
  if (next.op != Op::kRead) {
    slot.id = next_id_++;
    records_.push_back({.kind = RecordKind::kSubmit,
                        .op = next.op,
                        .flags = next.fua ? kFuaFlag : uint8_t{0},
                        .id = slot.id,
                        .first_block = next.range.first_block,
                        .block_count = next.range.block_count});
  }
  if (next.op == Op::kWrite) {
    for (uint32_t i = 0; i < next.range.block_count; ++i) {
      FillBlock({.lineage = lineage_, .block = next.range.first_block + i, .write_id = slot.id},
                buffers_.Block(index, i));
    }
  }
  requests_.push_back({.op = next.op,
                       .fua = next.fua,
                       .first_block = next.range.first_block,
                       .block_count = next.range.block_count,
                       .data = buffers_[index],
                       .slot = index});
}

bool Runner::IsOver() const {
  if (free_slots_.size() < slots_.size() || MaySubmit()) return false;
  return !options_.flush_at_end || final_flush_sent_;
}

int Runner::WaitMs() const {
  if (options_.rate == 0) return kWaitMsMax;
  const double next = static_cast<double>(SubmittedTotal() + 1) / options_.rate;
  const double left_ms = std::ceil((next - SecondsSinceStart()) * 1000);
  return static_cast<int>(std::clamp(left_ms, 1.0, double{kWaitMsMax}));
}

void Runner::Answered(const Completion& completion) {
  Slot& slot = slots_[completion.slot];
  const bool succeeded = completion.result == 0;
  const NextOp& what = slot.what;
  last_answer_ = Clock::now();
  free_slots_.push_back(completion.slot);
  if (what.op != Op::kRead) {
    records_.push_back({.kind = RecordKind::kAck, .id = slot.id, .result = completion.result});
  } else if (succeeded) {
    CheckRead(slot, completion.slot);
  }
  model_.End(slot.id, what.op, what.range, succeeded);
  if (succeeded) {
    ++report_.acked[static_cast<size_t>(what.op)];
    return;
  }
  ++report_.errors;
  if (target_.must_not_fail()) {
    report_.findings.Add({Fault::kIoError, what.range.first_block, "an answer without an error",
                          "errno " + std::to_string(-completion.result)});
  }
}

void Runner::CheckRead(const Slot& slot, uint32_t index) {
  std::vector<Sighting> seen;
  for (uint32_t i = 0; i < slot.what.range.block_count; ++i) {
    seen.push_back(ReadStamps(lineage_, slot.what.range.first_block + i, buffers_.Block(index, i)));
  }
  LiveModel::ReadResult result;
  model_.CheckRead(slot.what.range, seen, next_id_, result);
  for (Finding& finding : result.findings) report_.findings.Add(std::move(finding));
  records_.insert(records_.end(), result.observations.begin(), result.observations.end());
}

double Runner::SecondsSinceStart() const {
  return std::chrono::duration<double>(Clock::now() - started_).count();
}

uint64_t Runner::SubmittedTotal() const {
  return std::accumulate(std::begin(report_.submitted), std::end(report_.submitted), uint64_t{0});
}

}  // namespace weir::oracle
