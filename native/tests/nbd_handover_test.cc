// Goal: NBD clients that are handed from one server to another lose no request and no reply, in
// whatever state they are: idle, in the middle of a message, with requests the device gave back,
// with replies unread, in the handshake (I9).
// Method: two servers on two loops over one device in memory; clients that speak byte by byte. The
// descriptors and the state go over as they do between processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "engine/nbd/nbd_connection.h"
#include "engine/nbd/nbd_server.h"
#include "tests/support/loop_thread.h"
#include "tests/support/nbd_client.h"
#include "tests/support/test_device.h"

namespace weir {
namespace {

using nbd::Command;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kSizeBytes = 64U << 20;

Bytes Filled(size_t bytes, uint8_t with) { return Bytes(bytes, static_cast<std::byte>(with)); }

nbd::Request RequestOf(Command command, uint64_t cookie, uint64_t offset_bytes,
                       uint32_t length_bytes) {
  return {nbd::kRequestMagic, 0,           static_cast<uint16_t>(command), cookie,
          offset_bytes,       length_bytes};
}

class NbdHandoverTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/weir-nbd-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/vol.sock";
    from_.Call([&] {
      auto listened = NbdServer::Listen(from_.loop(), device_, {path_, "vol"});
      ASSERT_TRUE(listened.ok());
      old_ = std::move(listened.value());
    });
  }
  void TearDown() override {
    Close(from_, old_);
    Close(to_, fresh_);
    ::unlink(path_.c_str());
    EXPECT_EQ(::rmdir(folder_.c_str()), 0);
  }

  static void Close(LoopThread& thread, std::unique_ptr<NbdServer>& server) {
    if (server == nullptr) return;
    std::promise<void> closed;
    thread.Call([&] { server->Close([&] { closed.set_value(); }); });
    closed.get_future().wait();
    thread.Call([&] { server.reset(); });
  }

  void Freeze() {
    std::promise<void> frozen;
    from_.Call([&] { old_->Freeze([&] { frozen.set_value(); }); });
    // What a volume does next: what it cannot answer now it gives back.
    from_.Call([&] {
      device_.result = kGivenBack;
      device_.Release();
      device_.result = 0;
    });
    frozen.get_future().wait();
  }

  void HandOver() {
    Freeze();
    std::vector<UniqueFd> fds;
    Bytes state;
    from_.Call([&] {
      const NbdHandover handover = old_->Give();
      state = handover.state;
      fds.emplace_back(::fcntl(handover.listening_fd, F_DUPFD_CLOEXEC, 0));
      for (const int fd : handover.connection_fds) {
        fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      }
      old_->LetGo();
    });
    device_.hold = false;
    to_.Call([&] {
      auto taken = NbdServer::Take(to_.loop(), device_, {path_, "vol"}, std::move(fds), state);
      ASSERT_TRUE(taken.ok()) << taken.error().what;
      fresh_ = std::move(taken.value());
    });
    // As closing a process does; its clients must not notice.
    left_ = std::move(old_);
  }

  TestDevice device_{kSizeBytes};
  std::string folder_;
  std::string path_;
  // A server that was left is destroyed after its loop.
  std::unique_ptr<NbdServer> left_;
  LoopThread from_;
  LoopThread to_;
  std::unique_ptr<NbdServer> old_;
  std::unique_ptr<NbdServer> fresh_;
};

TEST_F(NbdHandoverTest, AnIdleClientGoesOnAndNewOnesConnect) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  ASSERT_EQ(client.Write(0, Filled(8192, 1)), 0U);
  HandOver();
  Bytes read(8192);
  ASSERT_EQ(client.Read(0, read), 0U);
  EXPECT_EQ(read, Filled(8192, 1));
  NbdClient late(path_);
  ASSERT_TRUE(late.Negotiate());
  EXPECT_EQ(late.Write(4096, Filled(4096, 2)), 0U);
}

TEST_F(NbdHandoverTest, AClientInTheMiddleOfAWriteFinishesIt) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  const Bytes data = Filled(1U << 20, 3);
  const Bytes head = EncodeRequest(RequestOf(Command::kWrite, 9, 0, 1U << 20));
  ASSERT_TRUE(client.SendBytes(head));
  ASSERT_TRUE(client.SendBytes(std::span(data).first(300'001)));
  HandOver();
  ASSERT_TRUE(client.SendBytes(std::span(data).subspan(300'001)));
  const auto reply = client.ReceiveReply();
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->cookie, 9U);
  EXPECT_EQ(reply->error, 0U);
  Bytes read(1U << 20);
  ASSERT_EQ(client.Read(0, read), 0U);
  EXPECT_EQ(read, data);
}

TEST_F(NbdHandoverTest, WhatTheDeviceGaveBackIsDoneByTheNextServer) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  ASSERT_EQ(client.Write(8192, Filled(4096, 5)), 0U);
  from_.Call([&] { device_.hold = true; });
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kRead, 21, 8192, 4096)));
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kWrite, 22, 0, 4096), Filled(4096, 6)));
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kFlush, 23, 0, 0)));
  while (device_.submitted < 4) std::this_thread::yield();
  HandOver();
  for (int count = 0; count < 3; ++count) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->error, 0U);
    if (reply->cookie == 21) {
      EXPECT_EQ(client.ReceiveBytes(4096), std::optional(Filled(4096, 5)));
    }
  }
  Bytes read(4096);
  ASSERT_EQ(client.Read(0, read), 0U);
  EXPECT_EQ(read, Filled(4096, 6));
}

TEST_F(NbdHandoverTest, RepliesThatTheClientDidNotReadComeLater) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  constexpr uint32_t kBytes = 1U << 20;
  constexpr uint64_t kCount = 40;  // more than the socket holds
  ASSERT_EQ(client.Write(0, Filled(kBytes, 7)), 0U);
  for (uint64_t cookie = 0; cookie < kCount; ++cookie) {
    ASSERT_TRUE(client.SendRequest(RequestOf(Command::kRead, cookie, 0, kBytes)));
  }
  while (device_.submitted < static_cast<int>(kCount) + 1) std::this_thread::yield();
  HandOver();
  for (uint64_t count = 0; count < kCount; ++count) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->cookie, count);
    EXPECT_EQ(client.ReceiveBytes(kBytes), std::optional(Filled(kBytes, 7)));
  }
}

TEST_F(NbdHandoverTest, AHandshakeGoesOn) {
  NbdClient client(path_);
  ASSERT_TRUE(client.ReceiveBytes(18).has_value());  // the greeting
  ASSERT_TRUE(client.SendBytes(Filled(2, 0)));       // half of the client's flags
  HandOver();
  Bytes flags = Filled(2, 0);
  flags[1] = std::byte{3};
  ASSERT_TRUE(client.SendBytes(flags));
  const Bytes list = EncodeOption(3, {});  // NBD_OPT_LIST
  ASSERT_TRUE(client.SendBytes(list));
  EXPECT_TRUE(client.ReceiveBytes(20).has_value());
}

TEST_F(NbdHandoverTest, AServerThatKeepsItsClientsGoesOn) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  from_.Call([&] { device_.hold = true; });
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kWrite, 1, 0, 4096), Filled(4096, 8)));
  while (device_.submitted < 1) std::this_thread::yield();
  Freeze();
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kFlush, 2, 0, 0)));
  device_.hold = false;
  from_.Call([&] { old_->Thaw(); });
  for (int count = 0; count < 2; ++count) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->error, 0U);
  }
  Bytes read(4096);
  ASSERT_EQ(client.Read(0, read), 0U);
  EXPECT_EQ(read, Filled(4096, 8));
  NbdClient late(path_);
  EXPECT_TRUE(late.Negotiate());
}

TEST_F(NbdHandoverTest, StateThatDoesNotVerifyIsRefused) {
  NbdClient client(path_);
  ASSERT_TRUE(client.Negotiate());
  Freeze();
  Bytes state;
  from_.Call([&] { state = old_->Give().state; });
  state.pop_back();
  std::vector<UniqueFd> fds;
  fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  to_.Call([&] {
    const auto taken = NbdServer::Take(to_.loop(), device_, {path_, "vol"}, std::move(fds), state);
    ASSERT_FALSE(taken.ok());
    EXPECT_EQ(taken.error().code, EBADMSG);
  });
  from_.Call([&] { old_->Thaw(); });
  EXPECT_EQ(client.Write(0, Filled(4096, 1)), 0U);
}

}  // namespace
}  // namespace weir
