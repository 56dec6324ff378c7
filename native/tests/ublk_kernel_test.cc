// Goal: a real ublk device lives as the engine needs it: made, started, served, grown where the
// kernel can, handed to a successor, removed. Method: needs a kernel with ublk_drv, so it runs in
// the guests, which say so by WEIR_UBLK_DRIVER=1; elsewhere it checks that the refusal helps.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/ublk/ublk_char_device.h"
#include "engine/ublk/ublk_control.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/ublk/ublk_queue.h"
#include "tests/support/loop_thread.h"
#include "tests/support/test_device.h"

namespace weir {
namespace {

constexpr uint64_t kSizeBytes = 16U << 20;
constexpr uint16_t kDepth = 16;
constexpr size_t kIoBytes = 64U << 10;

// One process's part in a device's life: a loop and a queue on it.
class Server {
 public:
  Server(BlockDevice& device, const UblkDeviceInfo& info) : info_(info) {
    auto channel = UblkCharDevice::Open(info.id, info.queue_depth, UblkControl::kDeadlineNs);
    EXPECT_TRUE(channel.ok()) << channel.error().what;
    loop_ = std::make_unique<LoopThread>();
    queue_ = std::make_unique<UblkQueue>(loop_->loop(), device, std::move(channel.value()),
                                         UblkQueueConfig{info.queue_depth, info.max_io_bytes});
    loop_->Call([this] { queue_->Begin([this] { all_aborted_.set_value(); }); });
  }
  // In the order that every kernel stands: thread, ring, device.
  ~Server() {
    loop_.reset();
    queue_.reset();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // 0 while the kernel has taken no command away.
  int AbortError() {
    int error = 0;
    loop_->Call([&] { error = queue_->abort_error(); });
    return error;
  }
  void AwaitAllAborted() { all_aborted_.get_future().wait(); }
  void Leave(UblkControl& control) {
    std::promise<void> frozen;
    loop_->Call([&] { queue_->Freeze([&] { frozen.set_value(); }); });
    frozen.get_future().wait();
    const auto quiesced = control.Quiesce(info_.id, 2000);
    if ((info_.features & ublk::kFeatureQuiesce) != 0) {
      ASSERT_TRUE(quiesced.ok()) << quiesced.error().what;
      AwaitAllAborted();
    } else {
      ASSERT_FALSE(quiesced.ok());
      EXPECT_EQ(quiesced.error().code, ENOTSUP);
    }
  }

 private:
  UblkDeviceInfo info_;
  std::unique_ptr<LoopThread> loop_;
  std::unique_ptr<UblkQueue> queue_;
  std::promise<void> all_aborted_;
};

// The block device as its user sees it.
class User {
 public:
  explicit User(const std::string& node)
      : fd_(::open(node.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)) {
    EXPECT_TRUE(fd_.valid()) << std::strerror(errno);
    buffer_ = static_cast<unsigned char*>(std::aligned_alloc(4096, kIoBytes));
  }
  ~User() { std::free(buffer_); }
  User(const User&) = delete;
  User& operator=(const User&) = delete;

  void Write(int value, off_t offset) {
    std::memset(buffer_, value, kIoBytes);
    ASSERT_EQ(::pwrite(fd_.get(), buffer_, kIoBytes, offset), static_cast<ssize_t>(kIoBytes));
  }
  void ExpectRead(int value, off_t offset) {
    std::memset(buffer_, ~value, kIoBytes);
    ASSERT_EQ(::pread(fd_.get(), buffer_, kIoBytes, offset), static_cast<ssize_t>(kIoBytes));
    EXPECT_TRUE(std::all_of(buffer_, buffer_ + kIoBytes, [&](int b) { return b == value; }));
  }
  void Flush() { ASSERT_EQ(::fdatasync(fd_.get()), 0); }
  uint64_t SizeBytes() {
    uint64_t size_bytes = 0;
    EXPECT_EQ(::ioctl(fd_.get(), BLKGETSIZE64, &size_bytes), 0);
    return size_bytes;
  }

 private:
  UniqueFd fd_;
  unsigned char* buffer_ = nullptr;
};

// Another process takes the device in a recovery that has begun, and dies before it fetches.
void MapAndDie(uint32_t id) {
  const std::string node = "/dev/ublkc" + std::to_string(id);
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open(node.c_str(), O_RDWR);
    const void* mapped = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ::_exit(fd >= 0 && mapped != MAP_FAILED ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0) << "the child could not map the device";
}

void LiveThroughAll(UblkControl& control) {
  auto added = control.Add({.queue_depth = kDepth});
  ASSERT_TRUE(added.ok()) << added.error().what;
  const UblkDeviceInfo info = added.value();
  EXPECT_EQ(info.queue_depth, kDepth);
  ASSERT_TRUE(control.SetParams(info.id, kSizeBytes, info.max_io_bytes).ok());
  EXPECT_EQ(control.StartRecovery(info.id).error().code, ENODEV) << "it was never started";

  TestDevice device(kSizeBytes);
  auto server = std::make_unique<Server>(device, info);
  ASSERT_TRUE(control.Start(info.id).ok());
  const auto node = EnsureUblkBlockNode(info.id, UblkControl::kDeadlineNs);
  ASSERT_TRUE(node.ok());
  EXPECT_EQ(control.Info(info.id).value().state, UblkState::kLive);
  EXPECT_EQ(control.GetSizeBytes(info.id).value(), kSizeBytes);
  {
    User user(node.value());
    EXPECT_EQ(user.SizeBytes(), kSizeBytes);
    user.Write(0x11, 0);
    user.Write(0x22, static_cast<off_t>(kSizeBytes - kIoBytes));
    user.Flush();
    user.ExpectRead(0x11, 0);

    server->Leave(control);
    server.reset();
    ASSERT_TRUE(control.StartRecovery(info.id).ok());
    MapAndDie(info.id);
    const auto again = control.StartRecovery(info.id);
    ASSERT_TRUE(again.ok()) << again.error().what;
    server = std::make_unique<Server>(device, info);
    ASSERT_TRUE(control.EndRecovery(info.id).ok());
    ASSERT_EQ(server->AbortError(), 0) << "the kernel took the successor for its predecessor";
    user.ExpectRead(0x11, 0);
    user.ExpectRead(0x22, static_cast<off_t>(kSizeBytes - kIoBytes));
    user.Write(0x33, 0);

    const auto grown = control.UpdateSize(info.id, 2 * kSizeBytes);
    if ((info.features & ublk::kFeatureUpdateSize) != 0) {
      ASSERT_TRUE(grown.ok()) << grown.error().what;
      EXPECT_EQ(user.SizeBytes(), 2 * kSizeBytes);
    } else {
      EXPECT_EQ(grown.error().code, ENOTSUP);
    }
  }
  const auto flush_seen = std::count_if(device.seen.begin(), device.seen.end(),
                                        [](const auto& seen) { return seen.op == IoOp::kFlush; });
  EXPECT_GE(flush_seen, 1) << "the kernel did not take the device for one with a cache";

  EXPECT_EQ(server->AbortError(), 0);  // Also the task on the loop that Stop() requires.
  ASSERT_TRUE(control.Stop(info.id).ok());
  server->AwaitAllAborted();
  server.reset();
  ASSERT_TRUE(control.Delete(info.id).ok());
  EXPECT_FALSE(control.Info(info.id).ok());
  const auto left = ListUblkDevices();
  EXPECT_EQ(std::count(left.begin(), left.end(), info.id), 0);
}

TEST(UblkKernelTest, DeviceLivesFromAddToDelete) {
  const auto opened = UblkControl::Open();
  if (opened.ok()) {
    for (int life = 0; life < 5; ++life) LiveThroughAll(*opened.value());
    return;
  }
  ASSERT_EQ(std::getenv("WEIR_UBLK_DRIVER"), nullptr) << opened.error().what;
  EXPECT_NE(std::string(opened.error().what).find("modprobe ublk_drv"), std::string::npos);
  EXPECT_TRUE(ListUblkDevices().empty());
}

}  // namespace
}  // namespace weir
