#include "tests/support/journal_model.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "engine/journal/background.h"

namespace weir::test {
namespace {

constexpr uint64_t kBlocks = 2;  // few, so that stale bytes often belong to the very same block
constexpr uint32_t kSizes[] = {0, 1, 2, 4, 4};

std::string Problem(const std::string& what, uint64_t seq) {
  return what + " (record " + std::to_string(seq) + ")";
}

std::string CompareRecord(const Journal& journal, const JournalRecord& record,
                          const ModelRecord& model) {
  if (record.type != model.type || record.start_block != model.start_block ||
      record.block_count != model.block_count) {
    return Problem("a record is not what was appended", record.seq);
  }
  if (record.type != RecordType::kWrite) return "";
  Bytes got(size_t{record.block_count} * kBlockBytes);
  const auto read = journal.Read(record.addr, record.start_block, record.block_count, got.data());
  if (!read.ok()) return Problem(std::string("read failed: ") + read.error().what, record.seq);
  Bytes want(kBlockBytes);
  for (uint32_t i = 0; i < record.block_count; ++i) {
    FillModelBlock(model, i, want.data());
    if (std::memcmp(want.data(), got.data() + size_t{i} * kBlockBytes, kBlockBytes) != 0) {
      return Problem("a block's content is foreign", record.seq);
    }
  }
  return "";
}

}  // namespace

JournalConfig SimConfig() {
  JournalConfig config;
  config.volume.bytes.fill(std::byte{0x11});
  config.journal_id.bytes.fill(std::byte{0x77});
  config.epoch = 3;
  config.file_bytes = kSimFileBytes;
  config.capacity_bytes = 6 * uint64_t{kSimFileBytes};
  return config;
}

void FillBlock(uint64_t stamp, uint32_t index, std::byte* out) {
  uint64_t word = (stamp + 1) * 0x9e3779b97f4a7c15 + index;
  for (size_t at = 0; at < kBlockBytes; at += sizeof(word)) {
    std::memcpy(out + at, &word, sizeof(word));
    word = word * 6364136223846793005 + 1442695040888963407;
  }
}

void FillModelBlock(const ModelRecord& record, uint32_t index, std::byte* out) {
  FillBlock((record.stamp >> (2 * index)) & 3U, 0, out);
}

JournalUnderTest::JournalUnderTest(SimStorage& storage, Model model, uint64_t seed)
    : storage_(storage), model_(std::move(model)), random_(seed) {}

std::string JournalUnderTest::Open() {
  const size_t begin = storage_.op_count();
  Expect();
  journal_.reset();
  uint64_t last = 0;
  auto opened = Journal::OpenOn(storage_.NewDisk(), journal::BackgroundMode::kManual, SimConfig(),
                                [&](const JournalRecord& record) { last = record.seq; });
  if (!opened.ok()) return opened.error().what;
  journal_ = std::move(opened.value());
  const uint64_t tail = journal_->committed_seq();
  if (last != 0 && last != tail) return "replay did not reach committed_seq()";
  if (tail > model_.records.size()) return "more records than were appended";
  model_.records.resize(tail);
  model_.synced_seq = tail;
  // Whatever a cut during Open() leaves, it is nothing that Open() itself did not find.
  for (Expectation& earlier : expectations_) {
    if (earlier.op >= begin) earlier.appended_seq = std::min(earlier.appended_seq, tail);
  }
  Expect();
  return "";
}

// Half of the time the process is killed: nothing it would do on its way out reaches the disk.
bool JournalUnderTest::Restart() {
  auto fault = std::exchange(storage_.fault, nullptr);
  if (random_() % 2 == 0) storage_.fault = [](const SimOp&) { return EIO; };
  journal_.reset();
  storage_.fault = std::move(fault);
  const size_t appended = model_.records.size();
  return Open().empty() && model_.records.size() == appended;  // the page cache lost nothing
}

bool JournalUnderTest::Step() {
  const uint64_t dice = random_() % 16;
  if (dice == 15 && random_() % 4 == 0) return Restart();
  if (dice < 9) return Append();
  if (dice < 11) return SyncAll();
  if (dice < 12) RecycleSome();
  journal_->OnReady();
  Expect();
  return !journal_->failed();
}

void JournalUnderTest::StageOne(uint32_t blocks) {
  ModelRecord record{.type = RecordType::kWrite,
                     .start_block = random_() % kBlocks,
                     .block_count = blocks,
                     .stamp = random_()};
  if (blocks == 0) {
    record.type = random_() % 8 == 0 ? RecordType::kResize : RecordType::kZeroes;
    record.block_count = record.type == RecordType::kZeroes ? 3 : 0;
  }
  model_.records.push_back(record);
  if (record.type == RecordType::kResize) {
    journal_->StageResize(record.start_block);
  } else if (record.type == RecordType::kZeroes) {
    journal_->StageZeroes(record.start_block, record.block_count);
  } else {
    buffers_.push_back(std::make_unique<std::byte[]>(size_t{blocks} * kBlockBytes));
    for (uint32_t i = 0; i < blocks; ++i) {
      FillModelBlock(record, i, buffers_.back().get() + size_t{i} * kBlockBytes);
    }
    journal_->StageWrite(record.start_block, blocks, buffers_.back().get());
  }
}

bool JournalUnderTest::Append() {
  const uint64_t count = 1 + random_() % 3;
  for (uint64_t i = 0; i < count; ++i) {
    const auto blocks = kSizes[random_() % std::size(kSizes)];
    for (int tries = 0; !journal_->CanStage(blocks) && tries < 40; ++tries) {
      Expect();
      if (!journal_->Commit().ok()) return false;
      RecycleSome();
      journal_->OnReady();
      if (journal_->failed()) return false;
    }
    if (!journal_->CanStage(blocks)) return false;
    StageOne(blocks);
  }
  Expect();  // the appended records may survive from the first byte of the commit on
  const bool committed = journal_->Commit().ok();
  buffers_.clear();
  Expect();
  return committed;
}

bool JournalUnderTest::SyncAll() {
  const uint64_t seq = journal_->committed_seq();
  for (const int fd : std::vector<int>(journal_->sync_fds().begin(), journal_->sync_fds().end())) {
    if (!storage_.Sync(fd).ok()) {
      journal_->MarkFailed();
      return false;
    }
    if (random_() % 4 == 0 && journal_->CanStage(1)) {  // appended while the sync was on its way
      StageOne(1);
      Expect();
      if (!journal_->Commit().ok()) return false;
      buffers_.clear();
    }
  }
  journal_->MarkSynced(seq);
  model_.synced_seq = std::max(model_.synced_seq, seq);
  Expect();
  return true;
}

void JournalUnderTest::RecycleSome() {
  const Journal::FileInfo oldest = journal_->oldest_file();
  if (!oldest.sealed || oldest.last_seq > journal_->committed_seq()) return;
  model_.recycled_seq = oldest.last_seq;
  Expect();
  (void)journal_->RecycleOldest();
}

void JournalUnderTest::Expect() {
  if (journal_) model_.synced_seq = std::max(model_.synced_seq, journal_->synced_seq());
  expectations_.push_back({.op = storage_.op_count(),
                           .synced_seq = model_.synced_seq,
                           .recycled_seq = model_.recycled_seq,
                           .appended_seq = model_.records.size()});
}

std::string CheckSurvivors(SimStorage& storage, const Model& model, const Expectation& expected,
                           uint64_t* tail) {
  std::vector<JournalRecord> replayed;
  auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, SimConfig(),
                                [&](const JournalRecord& record) { replayed.push_back(record); });
  if (!opened.ok()) return opened.error().what;
  const Journal& journal = *opened.value();
  *tail = journal.committed_seq();
  if (*tail < expected.synced_seq) return Problem("a synced record is lost", expected.synced_seq);
  if (*tail > expected.appended_seq) return Problem("a record came from nowhere", *tail);
  if (replayed.empty()) {
    return *tail > expected.recycled_seq ? Problem("a live record is lost", *tail) : "";
  }
  if (replayed.front().seq > expected.recycled_seq + 1) {
    return Problem("the journal begins too late", replayed.front().seq);
  }
  uint64_t next = replayed.front().seq;
  JournalAddr before;
  for (const JournalRecord& record : replayed) {
    if (record.seq != next++) return Problem("the sequence has a hole", record.seq);
    if (record.addr <= before) return Problem("addresses do not grow", record.seq);
    before = record.addr;
    std::string wrong = CompareRecord(journal, record, model.records[record.seq - 1]);
    if (!wrong.empty()) return wrong;
  }
  return next - 1 == *tail ? "" : Problem("replay ends early", next);
}

}  // namespace weir::test
