// Goal: a journal file is found by its number, whichever slot it lies in and however many there
// are,
//   and not found once it is retired. Method: more files than the set has hints for, so that the
//   hints are wrong for most; every number is asked for after every step.
#include "engine/journal/file_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace weir::journal {
namespace {

constexpr uint32_t kSlots = 150;
constexpr uint32_t kNumbers = 400;

void ExpectExactly(const FileSet& files, const std::set<uint32_t>& live) {
  for (uint32_t number = 1; number <= kNumbers; ++number) {
    const JournalFile* found = files.Find(number);
    ASSERT_EQ(found != nullptr, live.contains(number)) << number;
    if (found != nullptr) {
      ASSERT_EQ(found->number, number);
    }
  }
}

TEST(FileSetTest, FindsEachLiveFileByItsNumberAndNoOther) {
  FileSet files(Uid{}, 1U << 20, kSlots);
  std::set<uint32_t> live;
  uint32_t number = 0;
  const auto add = [&](JournalFile* file) {
    file->number = ++number;
    files.AddLive(file);
    live.insert(number);
  };
  while (files.unmade_count() > 0) add(files.TakeUnmade());
  ExpectExactly(files, live);
  // The oldest goes and comes back under a new number, in a slot that other numbers hint at.
  while (number < kNumbers) {
    std::vector<JournalFile*> retired;
    for (int i = 0; i < 7 && number + retired.size() < kNumbers; ++i) {
      retired.push_back(files.RetireOldest());
      live.erase(live.begin());
    }
    ExpectExactly(files, live);
    std::reverse(retired.begin(), retired.end());
    for (JournalFile* file : retired) add(file);
    ExpectExactly(files, live);
  }
}

}  // namespace
}  // namespace weir::journal
