// Goal: the ublk queue turns every request the kernel can deliver into the right device request and
// the right result, whatever order things end in, and lets go of its tags as the handoff needs it.
// Method: a fake kernel side on a real loop: it delivers descriptors, holds the data of the
// requests and notes every commit. The real kernel side is tested by ublk_kernel_test.cc.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "engine/ublk/ublk_queue.h"
#include "tests/support/test_device.h"

namespace weir {
namespace {

constexpr uint64_t kSizeBytes = 16U << 20;
constexpr uint16_t kDepth = 8;
constexpr uint32_t kMaxIoBytes = 64U << 10;

class FakeChannel final : public UblkChannel {
 public:
  struct Slot {
    Completion* owner = nullptr;  // set while the kernel has the tag's command
    ublk::IoDescriptor descriptor;
    std::vector<std::byte> data;
    int fetches = 0;
    std::vector<int32_t> results;
  };

  void Command(Loop& /*loop*/, Completion* owner, uint32_t op, uint16_t tag,
               int32_t result) override {
    Slot& slot = slots[tag];
    EXPECT_EQ(slot.owner, nullptr) << "two commands of one tag";
    slot.owner = owner;
    if (op == ublk::kFetch) {
      ++slot.fetches;
    } else {
      EXPECT_EQ(op, ublk::kCommitAndFetch);
      slot.results.push_back(result);
    }
  }
  ublk::IoDescriptor Descriptor(uint16_t tag) const override { return slots.at(tag).descriptor; }
  bool CopyFromRequest(uint16_t tag, std::byte* to, uint32_t bytes) override {
    std::memcpy(to, slots[tag].data.data(), bytes);
    return !copies_fail;
  }
  bool CopyToRequest(uint16_t tag, const std::byte* from, uint32_t bytes) override {
    slots[tag].data.assign(from, from + bytes);
    return !copies_fail;
  }

  void Deliver(uint16_t tag, uint32_t op_flags, uint64_t offset_bytes, uint64_t length_bytes,
               std::vector<std::byte> data = {}) {
    slots[tag].descriptor = {op_flags, static_cast<uint32_t>(length_bytes >> 9), offset_bytes >> 9,
                             0};
    slots[tag].data = std::move(data);
    Complete(tag, 0);
  }
  void Complete(uint16_t tag, int result) {
    Completion* owner = std::exchange(slots[tag].owner, nullptr);
    ASSERT_NE(owner, nullptr) << "the kernel has no command of tag " << tag;
    owner->OnCompletion(result, 0);
  }

  std::map<uint16_t, Slot> slots;
  bool copies_fail = false;
};

class UblkQueueTest : public testing::Test {
 protected:
  UblkQueueTest() {
    auto created = Loop::Create(64);
    EXPECT_TRUE(created.ok());
    loop_ = std::move(created.value());
    auto channel = std::make_unique<FakeChannel>();
    kernel_ = channel.get();
    queue_ = std::make_unique<UblkQueue>(*loop_, device_, std::move(channel),
                                         UblkQueueConfig{kDepth, kMaxIoBytes});
    queue_->Begin([this] { ++all_aborted_; });
  }
  // Runs the loop until what was posted so far has run, and what came of it in three further
  // steps: the end of a freeze is posted by a task that another one posts. Once per test.
  void RunPosted() {
    StopAfter(3);
    loop_->Run();
  }
  void StopAfter(int steps) {
    loop_->Post([this, steps] { steps > 0 ? StopAfter(steps - 1) : loop_->Stop(); });
  }
  std::vector<std::byte> Filled(size_t bytes, int value) {
    return std::vector<std::byte>(bytes, static_cast<std::byte>(value));
  }
  int32_t OnlyResult(uint16_t tag) {
    EXPECT_EQ(kernel_->slots[tag].results.size(), 1U);
    return kernel_->slots[tag].results.empty() ? -1 : kernel_->slots[tag].results[0];
  }

  TestDevice device_{kSizeBytes};
  std::unique_ptr<Loop> loop_;
  FakeChannel* kernel_ = nullptr;
  std::unique_ptr<UblkQueue> queue_;
  int all_aborted_ = 0;
  int frozen_ = 0;
};

TEST_F(UblkQueueTest, BeginFetchesEveryTagOnce) {
  ASSERT_EQ(kernel_->slots.size(), kDepth);
  for (const auto& [tag, slot] : kernel_->slots) {
    EXPECT_EQ(slot.fetches, 1);
    EXPECT_NE(slot.owner, nullptr);
  }
}

TEST_F(UblkQueueTest, WriteThenReadCarriesTheBytesAndAnswersTheLength) {
  kernel_->Deliver(0, ublk::kOpWrite, 8192, kMaxIoBytes, Filled(kMaxIoBytes, 7));
  EXPECT_EQ(OnlyResult(0), static_cast<int32_t>(kMaxIoBytes));
  kernel_->Deliver(1, ublk::kOpRead, 8192, 4096);
  EXPECT_EQ(OnlyResult(1), 4096);
  EXPECT_EQ(kernel_->slots[1].data, Filled(4096, 7));
}

TEST_F(UblkQueueTest, OperationsAndFuaArriveAsTheyWereMeant) {
  kernel_->Deliver(0, ublk::kOpWrite | ublk::kFlagFua, 0, 4096, Filled(4096, 1));
  kernel_->Deliver(1, ublk::kOpFlush, 0, 0);
  kernel_->Deliver(2, ublk::kOpDiscard, 4096, 1U << 20);
  kernel_->Deliver(3, ublk::kOpWriteZeroes | ublk::kFlagFua, 0, 8192);
  ASSERT_EQ(device_.seen.size(), 4U);
  EXPECT_EQ(device_.seen[0].op, IoOp::kWrite);
  EXPECT_TRUE(device_.seen[0].fua);
  EXPECT_EQ(device_.seen[1].op, IoOp::kFlush);
  EXPECT_EQ(device_.seen[2].op, IoOp::kDiscard);
  EXPECT_EQ(device_.seen[2].length_bytes, 1U << 20);
  EXPECT_FALSE(device_.seen[2].fua);
  EXPECT_EQ(device_.seen[3].op, IoOp::kWriteZeroes);
  EXPECT_TRUE(device_.seen[3].fua);
  for (uint16_t tag = 1; tag < 4; ++tag) EXPECT_EQ(OnlyResult(tag), 0);
}

TEST_F(UblkQueueTest, RequestsOutsideTheLimitsAreRefusedWithoutReachingTheDevice) {
  kernel_->Deliver(0, ublk::kOpWrite, kSizeBytes, 4096, Filled(4096, 1));
  kernel_->Deliver(1, ublk::kOpRead, kSizeBytes - 4096, 8192);
  kernel_->Deliver(2, ublk::kOpRead, 512, 4096);
  kernel_->Deliver(3, ublk::kOpWrite, 0, 512, Filled(512, 1));
  kernel_->Deliver(4, ublk::kOpRead, 0, kMaxIoBytes + 4096);
  kernel_->Deliver(5, 15, 0, 4096);
  kernel_->Deliver(6, ublk::kOpRead, 0, 0);
  EXPECT_EQ(OnlyResult(0), -ENOSPC);
  EXPECT_EQ(OnlyResult(1), -EINVAL);
  EXPECT_EQ(OnlyResult(2), -EINVAL);
  EXPECT_EQ(OnlyResult(3), -EINVAL);
  EXPECT_EQ(OnlyResult(4), -EINVAL);
  EXPECT_EQ(OnlyResult(5), -EOPNOTSUPP);
  EXPECT_EQ(OnlyResult(6), -EINVAL);
  EXPECT_TRUE(device_.seen.empty());
}

TEST_F(UblkQueueTest, ErrorsAreNeverShortSuccesses) {
  device_.result = -EIO;
  kernel_->Deliver(0, ublk::kOpRead, 0, 4096);
  EXPECT_EQ(OnlyResult(0), -EIO);
  device_.result = 0;
  kernel_->copies_fail = true;
  kernel_->Deliver(1, ublk::kOpRead, 0, 4096);
  EXPECT_EQ(OnlyResult(1), -EIO);
  const size_t seen = device_.seen.size();
  kernel_->Deliver(2, ublk::kOpWrite, 0, 4096, Filled(4096, 1));
  EXPECT_EQ(OnlyResult(2), -EIO);
  EXPECT_EQ(device_.seen.size(), seen) << "a write whose data is not there reached the device";
}

TEST_F(UblkQueueTest, AllTagsInFlightEndInAnyOrderWithTheirOwnData) {
  for (uint16_t round = 0; round < 3; ++round) {
    device_.hold = true;
    for (uint16_t tag = 0; tag < kDepth; ++tag) {
      kernel_->Deliver(tag, ublk::kOpWrite, uint64_t{tag} * kMaxIoBytes, kMaxIoBytes,
                       Filled(kMaxIoBytes, 16 * round + tag));
    }
    EXPECT_EQ(queue_->in_device(), kDepth);
    device_.hold = false;
    device_.Release(round % 2 == 0);
    for (uint16_t tag = 0; tag < kDepth; ++tag) {
      kernel_->Deliver(tag, ublk::kOpRead, uint64_t{tag} * kMaxIoBytes, kMaxIoBytes);
      EXPECT_EQ(kernel_->slots[tag].data, Filled(kMaxIoBytes, 16 * round + tag));
    }
  }
}

TEST_F(UblkQueueTest, FreezeWaitsForTheDeviceAndLeavesNewRequestsBehind) {
  device_.hold = true;
  kernel_->Deliver(0, ublk::kOpWrite, 0, 4096, Filled(4096, 1));
  queue_->Freeze([this] { ++frozen_; });
  kernel_->Deliver(1, ublk::kOpWrite, 4096, 4096, Filled(4096, 2));
  EXPECT_EQ(device_.seen.size(), 1U);
  EXPECT_EQ(queue_->left_behind(), 1U);
  loop_->Post([this] {
    EXPECT_EQ(frozen_, 0);
    device_.hold = false;
    device_.Release();
    EXPECT_EQ(OnlyResult(0), 4096);
    EXPECT_EQ(frozen_, 0) << "the commit is not in the kernel before the round has ended";
  });
  RunPosted();
  EXPECT_EQ(frozen_, 1);
  EXPECT_EQ(queue_->in_device(), 0U);
  EXPECT_TRUE(kernel_->slots[1].results.empty());
}

TEST_F(UblkQueueTest, FrozenAndQuiescedQueueReportsThatAllTagsAreGone) {
  kernel_->Deliver(0, ublk::kOpFlush, 0, 0);
  queue_->Freeze([this] { ++frozen_; });
  kernel_->Deliver(3, ublk::kOpWrite, 0, 4096, Filled(4096, 2));
  loop_->Post([this] {
    for (uint16_t tag = 0; tag < kDepth; ++tag) {
      EXPECT_EQ(all_aborted_, 0);
      if (tag != 3) kernel_->Complete(tag, -ENODEV);
    }
  });
  RunPosted();
  EXPECT_EQ(frozen_, 1);
  EXPECT_EQ(all_aborted_, 1);
  EXPECT_EQ(queue_->abort_error(), ENODEV);
}

TEST_F(UblkQueueTest, StoppedDeviceAbortsAllTagsOnce) {
  device_.hold = true;
  kernel_->Deliver(0, ublk::kOpWrite, 0, 4096, Filled(4096, 1));
  for (uint16_t tag = 1; tag < kDepth; ++tag) kernel_->Complete(tag, -ENODEV);
  loop_->Post([this] {
    EXPECT_EQ(all_aborted_, 0) << "a request is still in the device";
    device_.Release();
    kernel_->Complete(0, -ENODEV);
    loop_->Post([this] {
      EXPECT_EQ(all_aborted_, 1);
      loop_->Stop();
    });
  });
  loop_->Run();
  EXPECT_EQ(all_aborted_, 1);
}

TEST_F(UblkQueueTest, ThawServesWhatWasLeftBehind) {
  queue_->Freeze([this] {
    ++frozen_;
    queue_->Thaw();
    loop_->Stop();
  });
  for (uint16_t tag = 0; tag < kDepth; ++tag) {
    kernel_->Deliver(tag, ublk::kOpWrite, uint64_t{tag} * 4096, 4096, Filled(4096, tag));
  }
  EXPECT_TRUE(device_.seen.empty());
  loop_->Run();
  EXPECT_EQ(frozen_, 1);
  EXPECT_EQ(all_aborted_, 0);
  for (uint16_t tag = 0; tag < kDepth; ++tag) EXPECT_EQ(OnlyResult(tag), 4096);
  kernel_->Deliver(5, ublk::kOpRead, 5 * 4096, 4096);
  EXPECT_EQ(kernel_->slots[5].data, Filled(4096, 5));
}

TEST_F(UblkQueueTest, WhatIsDeliveredWhileItIsHeldWaitsForTheThaw) {
  queue_->Hold();
  kernel_->Deliver(0, ublk::kOpWrite, 0, 4096, Filled(4096, 1));
  kernel_->Deliver(1, ublk::kOpRead, 8192, 4096);
  RunPosted();
  EXPECT_TRUE(device_.seen.empty());
  EXPECT_EQ(all_aborted_, 0);
  queue_->Thaw();
  EXPECT_EQ(OnlyResult(0), 4096);
  EXPECT_EQ(OnlyResult(1), 4096);
  kernel_->Deliver(2, ublk::kOpRead, 0, 4096);
  EXPECT_EQ(kernel_->slots[2].data, Filled(4096, 1)) << "it serves on";
}

TEST_F(UblkQueueTest, WhatTheDeviceGivesBackIsLeftBehindAndDoneAfterAThaw) {
  device_.hold = true;
  kernel_->Deliver(0, ublk::kOpWrite, 0, 4096, Filled(4096, 1));
  kernel_->Deliver(1, ublk::kOpRead, 0, 4096);
  queue_->Freeze([this] { ++frozen_; });
  loop_->Post([this] {
    device_.hold = false;
    device_.result = kGivenBack;
    device_.Release();
    device_.result = 0;
  });
  RunPosted();
  EXPECT_EQ(frozen_, 1);
  EXPECT_EQ(queue_->left_behind(), 2U);
  EXPECT_TRUE(kernel_->slots[0].results.empty()) << "it was answered, so nobody does it again";
  queue_->Thaw();
  EXPECT_EQ(OnlyResult(0), 4096);
  EXPECT_EQ(OnlyResult(1), 4096);
  EXPECT_EQ(queue_->left_behind(), 0U);
}

TEST(UblkUapiTest, UserCopyRangesOfTagsDoNotMeet) {
  EXPECT_EQ(ublk::UserCopyOffset(0, 0), 0x80000000ULL);
  EXPECT_EQ(ublk::UserCopyOffset(0, 1) - ublk::UserCopyOffset(0, 0), 32ULL << 20);
  EXPECT_EQ(ublk::UserCopyOffset(1, 0) - ublk::UserCopyOffset(0, 0), 1ULL << 41);
}

}  // namespace
}  // namespace weir
