// Choosing a block that a fault can be planted on, and the bytes that make the fault.
#include "oracle/plant.h"

#include <algorithm>
#include <cerrno>
#include <optional>

#include "oracle/buffers.h"
#include "oracle/judge.h"
#include "oracle/random.h"
#include "oracle/verifier.h"

namespace weir::oracle {
namespace {

// Everything that the choice rests on. The device was found sound, so `observed` is what it holds.
class Scene {
 public:
  Scene(const Evidence& evidence, std::vector<Version> observed)
      : history_(evidence.history),
        ops_(evidence.ops),
        acked_(FloorsOf(history_, ops_, Promise::kAcked)),
        owed_(FloorsOf(history_, ops_, evidence.promise)),
        observed_(std::move(observed)),
        oldest_write_(observed_.size(), kNever),
        newest_op_(observed_.size(), 0) {
    for (uint64_t id = ops_.first_id(); id < ops_.next_id(); ++id) Note(id);
    for (const Version version : observed_) youngest_ = std::max(youngest_, version.id());
  }

  // The bytes of the fault, if block `b` can carry it.
  [[nodiscard]] bool Make(Fault kind, uint64_t b, std::span<std::byte> bytes) const {
    switch (kind) {
      case Fault::kLost:
        return MakeLost(b, bytes);
      case Fault::kStale:
        return MakeStale(b, bytes);
      case Fault::kTorn:
        return MakeTorn(b, bytes);
      case Fault::kZeroed:
        return MakeZeroed(b, bytes);
      case Fault::kMisplaced:
        return MakeMisplaced(b, bytes);
      case Fault::kForeign:
        FillBlock({.lineage = ~history_.lineage, .block = b, .write_id = 1}, bytes);
        return true;
      case Fault::kPrefix:
        return MakePrefix(b, bytes);
      case Fault::kUnreadable:
      case Fault::kIoError:
        break;
    }
    return false;
  }

 private:
  void Note(uint64_t id) {
    const LoggedOp& op = *ops_.Find(id);
    for (uint64_t b = op.first_block; b < op.first_block + op.block_count; ++b) {
      newest_op_[b] = id;
      if (op.op == Op::kWrite && oldest_write_[b] == kNever) oldest_write_[b] = id;
    }
  }

  // Nothing that the promise would also accept was submitted behind what is required.
  [[nodiscard]] bool IsSettled(uint64_t b) const {
    const Version owed = owed_[b].floor;
    return observed_[b] == owed && newest_op_[b] <= owed.id() && acked_[b].floor == owed;
  }

  void Fill(uint64_t b, Version version, std::span<std::byte> bytes) const {
    if (version.zeroes()) {
      std::ranges::fill(bytes, std::byte{0});
    } else {
      FillBlock({.lineage = history_.lineage, .block = b, .write_id = version.id()}, bytes);
    }
  }

  bool MakeLost(uint64_t b, std::span<std::byte> bytes) const {
    const Version before = acked_[b].previous;
    const BlockFloor& owed = owed_[b];
    const bool fits = IsSettled(b) && !before.zeroes() && before.id() < owed.floor.id() &&
                      before.id() >= owed.previous.id();
    if (fits) Fill(b, before, bytes);
    return fits;
  }

  bool MakeStale(uint64_t b, std::span<std::byte> bytes) const {
    const bool fits = IsSettled(b) && oldest_write_[b] < owed_[b].previous.id();
    if (fits) Fill(b, Version::Written(oldest_write_[b]), bytes);
    return fits;
  }

  bool MakeTorn(uint64_t b, std::span<std::byte> bytes) const {
    if (observed_[b].zeroes()) return false;
    const Version other = acked_[b].previous == observed_[b] ? Version() : acked_[b].previous;
    Fill(b, other, bytes);
    const StampKey key{.lineage = history_.lineage, .block = b, .write_id = observed_[b].id()};
    for (uint32_t sector = 0; sector < kSectorsPerBlock / 2; ++sector) {
      FillSector(key, sector, bytes.subspan(sector * kSectorBytes, kSectorBytes));
    }
    return true;
  }

  bool MakeZeroed(uint64_t b, std::span<std::byte> bytes) const {
    const bool trimmed_before = owed_[b].previous.zeroes() && owed_[b].previous.id() != 0;
    const bool fits = IsSettled(b) && !observed_[b].zeroes() && !trimmed_before;
    if (fits) Fill(b, Version(), bytes);
    return fits;
  }

  bool MakeMisplaced(uint64_t b, std::span<std::byte> bytes) const {
    const uint64_t home = (b + 1) % observed_.size();
    if (home == b || observed_[home].zeroes()) return false;
    Fill(home, observed_[home], bytes);
    return true;
  }

  // The block goes back to what the promise demands by itself, while a younger operation, submitted
  // after the ack of what is taken away, stays on another block.
  bool MakePrefix(uint64_t b, std::span<std::byte> bytes) const {
    const Version newest = acked_[b].floor;
    const LoggedOp* taken = ops_.Find(newest.id());
    const LoggedOp* survivor = ops_.Find(youngest_);
    if (taken == nullptr || survivor == nullptr || newest.zeroes()) return false;
    const bool fits = observed_[b] == newest && newest_op_[b] == newest.id() &&
                      owed_[b].floor != newest && taken->ack_at < survivor->submit_at;
    if (fits) Fill(b, owed_[b].floor, bytes);
    return fits;
  }

  const History& history_;
  const OpTable& ops_;
  Floors acked_;
  Floors owed_;
  std::vector<Version> observed_;
  std::vector<uint64_t> oldest_write_;
  std::vector<uint64_t> newest_op_;
  uint64_t youngest_ = 0;
};

}  // namespace

Result<Planted> Plant(Target& target, const PlantOptions& options) {
  if (options.kind == Fault::kPrefix && options.promise == Promise::kAcked) {
    return Error{EINVAL, "a prefix fault shows under --expect flushed or image only"};
  }
  auto view = LogView::Open(options.log_path);
  if (!view.ok()) return view.error();
  const History& history = view.value().history();
  const OpTable ops(history);
  auto seen = ReadDevice(target, history, options.depth);
  if (!seen.ok()) return seen.error();
  const Evidence evidence{
      .history = history, .ops = ops, .seen = seen.value(), .promise = options.promise};
  Verdict verdict = Judge(evidence);
  if (verdict.findings.total() > 0) return Error{EINVAL, "the device is not sound to begin with"};

  const Scene scene(evidence, std::move(verdict.observed));
  const SlotBuffers buffer(1, 1);
  const uint64_t start = Random(options.seed).Below(history.blocks);
  for (uint64_t i = 0; i < history.blocks; ++i) {
    const uint64_t block = (start + i) % history.blocks;
    const auto bytes = buffer.Block(0, 0);
    if (!scene.Make(options.kind, block, bytes)) continue;
    const Request write{
        .op = Op::kWrite, .first_block = block, .block_count = 1, .data = bytes.data()};
    if (auto written = Perform(target, write); !written.ok()) return written.error();
    return Planted{block, Describe(ReadStamps(history.lineage, block, bytes))};
  }
  return Error{ENODATA, "no block can carry this fault; run more operations first"};
}

}  // namespace weir::oracle
