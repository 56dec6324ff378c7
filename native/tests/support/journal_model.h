// A journal under test together with the model of what it must still know after a power cut.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/journal/journal.h"
#include "tests/support/journal_sim_disk.h"

namespace weir::test {

inline constexpr uint32_t kSimFileBytes = 64U << 10;

[[nodiscard]] JournalConfig SimConfig();

// A pattern of its own for every (stamp, index).
void FillBlock(uint64_t stamp, uint32_t index, std::byte* out);

struct ModelRecord {
  RecordType type = RecordType::kWrite;
  uint64_t start_block = 0;
  uint32_t block_count = 0;
  uint64_t stamp = 0;  // says what the data is: FillModelBlock()
};

// The content of block `index` of `record`: one of four patterns, so that records often share some
// of their blocks' content, as real ones do, and mixtures of an old and a new record can look
// whole.
void FillModelBlock(const ModelRecord& record, uint32_t index, std::byte* out);

// All records ever appended, by seq - 1, and what may be expected of them.
struct Model {
  std::vector<ModelRecord> records;
  uint64_t synced_seq = 0;    // must survive
  uint64_t recycled_seq = 0;  // need not survive: the file was given up
};

// What a cut before operation `op` must and may show.
struct Expectation {
  size_t op = 0;
  uint64_t synced_seq = 0;
  uint64_t recycled_seq = 0;
  uint64_t appended_seq = 0;
};

class JournalUnderTest {
 public:
  JournalUnderTest(SimStorage& storage, Model model, uint64_t seed);

  // Opens; the model forgets records that did not survive. Returns what is wrong, "" if nothing.
  [[nodiscard]] std::string Open();
  // Appends a few records and commits them, syncs, recycles, lets the background work, or ends the
  // process and opens again. False when the journal refused (only with injected faults).
  bool Step();
  void Close() { journal_.reset(); }

  // True when the journal failed, or refused to open again.
  [[nodiscard]] bool failed() const { return !journal_ || journal_->failed(); }
  [[nodiscard]] const Model& model() const { return model_; }
  // Expectations in the order of operations, the last at or before an operation holds for it.
  [[nodiscard]] const std::vector<Expectation>& expectations() const { return expectations_; }

 private:
  bool Append();
  bool SyncAll();
  void RecycleSome();
  bool Restart();
  void Expect();
  void StageOne(uint32_t blocks);

  SimStorage& storage_;
  Model model_;
  std::mt19937_64 random_;
  std::unique_ptr<Journal> journal_;
  std::vector<Expectation> expectations_;
  std::vector<std::unique_ptr<std::byte[]>> buffers_;
};

// Opens the journal in `storage` and compares everything it replays, visits and reads with `model`
// within the bounds of `expected`. Returns what is wrong, "" if nothing; `tail` gets the last
// record.
[[nodiscard]] std::string CheckSurvivors(SimStorage& storage, const Model& model,
                                         const Expectation& expected, uint64_t* tail);

}  // namespace weir::test
