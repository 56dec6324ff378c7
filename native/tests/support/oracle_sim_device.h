// A simulated device that keeps its promises, with the history that a client of it would log:
// several operations outstanding, applied to a journal in any order and acknowledged in any order.
// A crash keeps a prefix of the journal. Reads are checked against a live model as they go.
#pragma once

#include <memory>
#include <vector>

#include "oracle/live_model.h"
#include "oracle/random.h"
#include "tests/support/oracle_history.h"

namespace weir::oracle {

class SimDevice {
 public:
  static constexpr uint64_t kBlocks = 48;

  explicit SimDevice(uint64_t seed) : random_(seed), history_(kBlocks) { Reopen(); }

  // Some steps of a client: submits, applications, acks and reads.
  void Work(int steps) {
    for (int i = 0; i < steps; ++i) Step();
  }

  // Leaves all outstanding operations unanswered and keeps `kept` entries of the journal.
  void Crash(size_t kept) {
    outstanding_.clear();
    journal_.resize(kept);
    Reopen();
  }

  // After a crash: what is there is durable now, and a new history begins with it.
  void Settle(const std::vector<Version>& observed) {
    history_ = HistoryBuilder(kBlocks, history_.next_id());
    for (uint64_t b = 0; b < kBlocks; ++b) {
      history_.Base(b, observed[b].zeroes() ? Version() : observed[b]);
    }
    durable_ = journal_.size();
    Reopen();
  }

  // What the blocks hold after the first `size` entries of the journal, operation `dropped` left
  // out.
  [[nodiscard]] std::vector<Version> ContentAt(size_t size, uint64_t dropped = 0) const {
    std::vector<Version> content(kBlocks);
    for (size_t i = 0; i < size; ++i) {
      const Entry& entry = journal_[i];
      if (entry.id == dropped) continue;
      for (uint32_t b = 0; b < entry.range.block_count; ++b) {
        content[entry.range.first_block + b] = entry.version();
      }
    }
    return content;
  }

  [[nodiscard]] const HistoryBuilder& history() const { return history_; }
  [[nodiscard]] Random& random() { return random_; }
  [[nodiscard]] size_t journal_size() const { return journal_.size(); }
  [[nodiscard]] size_t durable_size() const { return durable_; }  // covered by a flush or FUA
  [[nodiscard]] size_t wrong_reads() const { return wrong_reads_; }

 private:
  struct Entry {
    uint64_t id = 0;
    Op op = Op::kWrite;
    bool fua = false;
    BlockRange range = {};
    bool applied = false;

    [[nodiscard]] Version version() const {
      return MakesZeroes(op) ? Version::Zeroed(id) : Version::Written(id);
    }
  };

  void Reopen() {
    const History history = history_.history();
    model_ = std::make_unique<LiveModel>(history, OpTable(history));
  }

  void Step() {
    const uint64_t roll = random_.Below(10);
    if (roll < 3 && outstanding_.size() < 8) return Submit();
    if (roll < 4) return Read();
    if (outstanding_.empty()) return;
    const size_t which = random_.Below(outstanding_.size());
    Entry& entry = outstanding_[which];
    if (!entry.applied) return Apply(entry);
    history_.Ack(entry.id);
    if (entry.op != Op::kFlush) model_->End(entry.id, entry.op, entry.range, true);
    outstanding_.erase(outstanding_.begin() + static_cast<ptrdiff_t>(which));
  }

  void Submit() {
    constexpr Op kOps[] = {Op::kWrite, Op::kWrite, Op::kWrite, Op::kTrim, Op::kZero, Op::kFlush};
    Entry entry{.op = kOps[random_.Below(std::size(kOps))]};
    if (entry.op != Op::kFlush) {
      const auto count = static_cast<uint32_t>(1 + random_.Below(6));
      entry.range = {random_.Below(kBlocks - count + 1), count};
      entry.fua = random_.Percent(10);
      if (!model_->IsFree(entry.op, entry.range)) return;
      model_->Begin(entry.op, entry.range);
    }
    entry.id = history_.Submit(entry.op, entry.range, entry.fua);
    outstanding_.push_back(entry);
  }

  void Apply(Entry& entry) {
    entry.applied = true;
    if (entry.op != Op::kFlush) journal_.push_back(entry);
    if (entry.op == Op::kFlush || entry.fua) durable_ = journal_.size();
  }

  void Read() {
    const BlockRange range{random_.Below(kBlocks), 1};
    if (!model_->IsFree(Op::kRead, range)) return;
    const Version version = ContentAt(journal_.size())[range.first_block];
    const Sighting seen = version.zeroes() ? SeenZeroes() : SeenWrite(version.id());
    LiveModel::ReadResult result;
    model_->CheckRead(range, {&seen, 1}, history_.next_id(), result);
    wrong_reads_ += result.findings.size();
    for (const LogRecord& seen_now : result.observations) {
      const bool zeroes = (seen_now.flags & kZeroesFlag) != 0;
      history_.Observe(range.first_block,
                       zeroes ? Version::Zeroed(seen_now.id) : Version::Written(seen_now.id));
    }
  }

  Random random_;
  HistoryBuilder history_;
  std::unique_ptr<LiveModel> model_;
  std::vector<Entry> outstanding_;
  std::vector<Entry> journal_;
  size_t durable_ = 0;
  size_t wrong_reads_ = 0;
};

}  // namespace weir::oracle
