// Reading a whole device and settling its log.
#include "oracle/verifier.h"

#include <algorithm>
#include <cerrno>

#include "oracle/buffers.h"

namespace weir::oracle {
namespace {

constexpr uint32_t kReadBlocks = 32;
constexpr int kWaitMs = 1000;
constexpr int kSilentWaitsMax = 300;

class DeviceReader {
 public:
  DeviceReader(Target& target, const History& history, uint32_t depth)
      : target_(target), history_(history), buffers_(depth, kReadBlocks), slots_(depth) {
    seen_.resize(history.blocks);
    for (uint32_t slot = 0; slot < depth; ++slot) free_.push_back(slot);
  }

  Result<std::vector<Sighting>> Read() {
    int silent_waits = 0;
    while (next_ < history_.blocks || free_.size() < slots_.size()) {
      if (auto sent = SubmitSome(); !sent.ok()) return sent.error();
      done_.clear();
      if (auto waited = target_.Wait(kWaitMs, done_); !waited.ok()) return waited.error();
      silent_waits = done_.empty() ? silent_waits + 1 : 0;
      if (silent_waits > kSilentWaitsMax) return Error{ETIMEDOUT, "the target answers no read"};
      for (const Completion& completion : done_) Take(completion);
    }
    return std::move(seen_);
  }

 private:
  Result<void> SubmitSome() {
    std::vector<Request> requests;
    while (next_ < history_.blocks && !free_.empty()) {
      const uint32_t slot = free_.back();
      free_.pop_back();
      const auto count =
          static_cast<uint32_t>(std::min<uint64_t>(kReadBlocks, history_.blocks - next_));
      slots_[slot] = {.op = Op::kRead,
                      .first_block = next_,
                      .block_count = count,
                      .data = buffers_[slot],
                      .slot = slot};
      requests.push_back(slots_[slot]);
      next_ += count;
    }
    if (requests.empty()) return {};
    return target_.Submit(requests);
  }

  void Take(const Completion& completion) {
    const Request& request = slots_[completion.slot];
    for (uint32_t i = 0; i < request.block_count; ++i) {
      const uint64_t block = request.first_block + i;
      seen_[block] = completion.result == 0
                         ? ReadStamps(history_.lineage, block, buffers_.Block(request.slot, i))
                         : Sighting{.content = Content::kUnreadable};
    }
    free_.push_back(completion.slot);
  }

  Target& target_;
  const History& history_;
  SlotBuffers buffers_;
  std::vector<Request> slots_;
  std::vector<uint32_t> free_;
  std::vector<Completion> done_;
  std::vector<Sighting> seen_;
  uint64_t next_ = 0;
};

// What a version is in a new base: which operation made zeroes no longer matters.
LogRecord BaseRecord(uint64_t block, Version version) {
  return {.kind = RecordKind::kBase,
          .flags = version.zeroes() ? kZeroesFlag : uint8_t{0},
          .id = version.zeroes() ? 0 : version.id(),
          .first_block = block,
          .block_count = 1};
}

Result<void> Settle(const VerifyOptions& options, const Evidence& evidence,
                    const std::vector<Version>& observed) {
  std::vector<LogRecord> records;
  for (uint64_t block = 0; block < observed.size(); ++block) {
    const LogRecord record = BaseRecord(block, observed[block]);
    const bool goes_on =
        !records.empty() && records.back().id == record.id && records.back().flags == record.flags;
    if (goes_on) {
      ++records.back().block_count;
    } else {
      records.push_back(record);
    }
  }
  const LogHeader header{.lineage = evidence.history.lineage,
                         .blocks = evidence.history.blocks,
                         .first_id = evidence.ops.next_id()};
  return ReplaceLog(options.log_path, header, records);
}

}  // namespace

Result<std::vector<Sighting>> ReadDevice(Target& target, const History& history, uint32_t depth) {
  return DeviceReader(target, history, depth).Read();
}

Result<VerifyReport> Verify(Target& target, const VerifyOptions& options) {
  auto view = LogView::Open(options.log_path);
  if (!view.ok()) return view.error();
  const History& history = view.value().history();
  if (target.blocks() < history.blocks) {
    return Error{EINVAL, "the target is smaller than the device of the log"};
  }
  const OpTable ops(history);
  auto seen = ReadDevice(target, history, options.depth);
  if (!seen.ok()) return seen.error();
  const Evidence evidence{
      .history = history, .ops = ops, .seen = seen.value(), .promise = options.promise};
  Verdict verdict = Judge(evidence);
  VerifyReport report{.blocks = history.blocks,
                      .open_ops = ops.CountOpen(),
                      .findings = std::move(verdict.findings)};
  report.checked = report.blocks - report.findings.Count(Fault::kUnreadable);
  if (!options.settle || report.findings.total() > 0) return report;
  if (auto flushed = Perform(target, {.op = Op::kFlush}); !flushed.ok()) return flushed.error();
  if (auto done = Settle(options, evidence, verdict.observed); !done.ok()) return done.error();
  report.settled = true;
  return report;
}

}  // namespace weir::oracle
