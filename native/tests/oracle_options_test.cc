// Goal: the command line means what the head of tools/oracle.cc says, and every mistake is named.
// Method: argument lists and what they parse to.
#include <gtest/gtest.h>

#include "oracle/options.h"

namespace weir::oracle {
namespace {

ParseResult Parse(std::vector<std::string> words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size());
  for (std::string& word : words) arguments.push_back(word.data());
  return ParseOptions(arguments);
}

ParseResult ParseWith(std::vector<std::string> words) {
  words.insert(words.end(), {"--target", "nbd:/s", "--log", "/l"});
  return Parse(std::move(words));
}

TEST(OracleOptions, ARunIsParsed) {
  const auto parsed = ParseWith({"run", "--blocks", "100", "--seconds", "1.5", "--sizes", "2-8",
                                 "--seed", "9", "--depth", "4", "--flush-at-end"});
  ASSERT_TRUE(parsed.options) << parsed.problem;
  EXPECT_EQ(parsed.options->command, Command::kRun);
  EXPECT_EQ(parsed.options->target.address, "nbd:/s");
  const RunOptions& run = parsed.options->run;
  EXPECT_EQ(run.log_path, "/l");
  EXPECT_EQ(run.workload.blocks, 100U);
  EXPECT_EQ(run.workload.blocks_min, 2U);
  EXPECT_EQ(run.workload.blocks_max, 8U);
  EXPECT_EQ(run.seconds, 1.5);
  EXPECT_EQ(run.op_count, std::nullopt);
  EXPECT_EQ(run.seed, 9U);
  EXPECT_EQ(run.depth, 4U);
  EXPECT_TRUE(run.flush_at_end);
}

TEST(OracleOptions, VerifyKnowsItsPromises) {
  const std::pair<std::vector<std::string>, Promise> cases[] = {
      {{"verify"}, Promise::kAcked},
      {{"verify", "--after-crash", "--settle"}, Promise::kAcked},
      {{"verify", "--expect", "flushed"}, Promise::kFlushed},
      {{"verify", "--expect", "image"}, Promise::kImage},
      {{"verify", "--scope", "flushed"}, Promise::kFlushed},
      {{"verify", "--scope", "s3"}, Promise::kImage}};
  for (const auto& [words, promise] : cases) {
    const auto parsed = ParseWith(words);
    ASSERT_TRUE(parsed.options) << parsed.problem;
    EXPECT_EQ(parsed.options->verify.promise, promise);
  }
}

TEST(OracleOptions, MistakesAreNamed) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"check"}, "the first argument is run, verify or plant"},
      {{"run"}, "--blocks is missing"},
      {{"run", "--blocks", "1x"}, "cannot understand the option --blocks"},
      {{"run", "--blocks", "9", "--sizes", "4-2"}, "cannot understand the option --sizes"},
      {{"run", "--blocks", "9", "--sizes", "0-2"}, "cannot understand the option --sizes"},
      {{"run", "--blocks", "9", "--depth", "500"}, "--depth is 1 to 128"},
      {{"run", "--blocks", "9", "--read-percent", "95"},
       "trims, zeroes and reads together exceed 100 percent"},
      {{"verify", "--expect", "luck"}, "cannot understand the option --expect"},
      {{"verify", "--scope", "acked"}, "cannot understand the option --scope"},
      {{"plant"}, "--kind is missing"},
      {{"plant", "--kind", "ioError"}, "cannot understand the option --kind"}};
  for (const auto& [words, problem] : cases) EXPECT_EQ(ParseWith(words).problem, problem);
  EXPECT_EQ(Parse({"verify", "--log", "l"}).problem, "--target is missing");
  EXPECT_EQ(Parse({"verify", "--target", "t"}).problem, "--log is missing");
  EXPECT_EQ(Parse({"verify", "--target"}).problem, "cannot understand the option --target");
}

}  // namespace
}  // namespace weir::oracle
