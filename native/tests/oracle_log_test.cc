// Goal: the log keeps its order and content across writers, cuts off a half-written end, and
// refuses what is damaged. Method: real files in a scratch folder, changed by hand.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "oracle/log_file.h"
#include "tests/support/scratch_folder.h"

namespace weir::oracle {
namespace {

LogRecord Submitted(uint64_t id, uint64_t block = 0) {
  return {.kind = RecordKind::kSubmit,
          .op = Op::kWrite,
          .id = id,
          .first_block = block,
          .block_count = 1};
}

class OracleLog : public ::testing::Test {
 protected:
  OracleLog() : path_(folder_.path() + "/log") {}

  Result<LogWriter> OpenWriter() {
    return LogWriter::Open({.path = path_, .lineage = 9, .blocks = 8});
  }
  void Append(std::vector<LogRecord> records) {
    auto writer = OpenWriter();
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer.value().Append(records).ok());
  }
  void WriteAt(off_t offset, const char* bytes, size_t count) {
    const UniqueFd fd(::open(path_.c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), bytes, count, offset), static_cast<ssize_t>(count));
  }
  off_t SizeBytes() {
    struct stat status {};
    EXPECT_EQ(::stat(path_.c_str(), &status), 0);
    return status.st_size;
  }

  test::ScratchFolder folder_;
  std::string path_;
};

TEST_F(OracleLog, KeepsWhatSeveralWritersAppended) {
  Append({Submitted(1, 5)});
  Append({{.kind = RecordKind::kAck, .id = 1, .result = -5}, Submitted(2)});
  auto view = LogView::Open(path_);
  ASSERT_TRUE(view.ok());
  const History& history = view.value().history();
  EXPECT_EQ(history.lineage, 9U);
  EXPECT_EQ(history.blocks, 8U);
  ASSERT_EQ(history.records.size(), 3U);
  EXPECT_EQ(history.records[0].first_block, 5U);
  EXPECT_EQ(history.records[1].result, -5);
  EXPECT_EQ(history.records[2].id, 2U);
}

TEST_F(OracleLog, CutsOffAHalfWrittenEnd) {
  Append({Submitted(1), Submitted(2)});
  ASSERT_EQ(::truncate(path_.c_str(), SizeBytes() - 5), 0);
  Append({Submitted(2)});
  auto view = LogView::Open(path_);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view.value().history().records.size(), 2U);
}

TEST_F(OracleLog, HasOneWriter) {
  auto first = OpenWriter();
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(OpenWriter().error().code, EWOULDBLOCK);
}

TEST_F(OracleLog, RefusesADamagedRecordOrHeader) {
  Append({Submitted(1), Submitted(2)});
  WriteAt(SizeBytes() - 40, "x", 1);
  EXPECT_EQ(LogView::Open(path_).error().code, EINVAL);
  WriteAt(16, "x", 1);
  EXPECT_EQ(LogView::Open(path_).error().code, EINVAL);
}

TEST_F(OracleLog, RefusesWhatCannotHaveHappened) {
  const std::vector<std::vector<LogRecord>> histories = {
      {Submitted(2)},
      {Submitted(1), Submitted(1)},
      {{.kind = RecordKind::kAck, .id = 1}},
      {Submitted(1, 8)},
  };
  for (const auto& records : histories) {
    Append(records);
    EXPECT_EQ(LogView::Open(path_).error().code, EINVAL);
    ASSERT_EQ(::unlink(path_.c_str()), 0);
  }
}

TEST_F(OracleLog, ALaterRunMayHaveGrownTheDevice) {
  Append({Submitted(1, 7), {.kind = RecordKind::kRun, .first_block = 20}, Submitted(2, 19)});
  auto view = LogView::Open(path_);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view.value().history().blocks, 20U);
}

TEST_F(OracleLog, IsReplacedWhole) {
  Append({Submitted(1), Submitted(2)});
  std::vector<LogRecord> base = {
      {.kind = RecordKind::kBase, .id = 1, .first_block = 0, .block_count = 8}};
  ASSERT_TRUE(ReplaceLog(path_, {.lineage = 9, .blocks = 8, .first_id = 3}, base).ok());
  Append({Submitted(3)});
  auto view = LogView::Open(path_);
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(view.value().history().first_id, 3U);
  EXPECT_EQ(view.value().history().records.size(), 2U);
}

}  // namespace
}  // namespace weir::oracle
