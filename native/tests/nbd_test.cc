// Goal: the NBD server serves well-behaved clients exactly, and no client, whatever it sends or
// leaves undone, harms the others or makes the server hold memory without bound.
// Method: a real socket and loop, a client that speaks the protocol byte by byte, a device in
// memory that can hold its answers back.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>

#include "engine/nbd/nbd_connection.h"
#include "engine/nbd/nbd_server.h"
#include "tests/support/loop_thread.h"
#include "tests/support/nbd_client.h"
#include "tests/support/seeded_random.h"
#include "tests/support/test_device.h"

namespace weir {
namespace {

using nbd::Command;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kSizeBytes = 64U << 20;

Bytes Pattern(size_t bytes, uint32_t seed) {
  Bytes out(bytes);
  SeededRandom random(seed);
  for (size_t i = 0; i + 4 <= bytes; i += 4) {
    const uint32_t word = random();
    std::memcpy(out.data() + i, &word, sizeof(word));
  }
  return out;
}

nbd::Request RequestOf(Command command, uint64_t cookie, uint64_t offset_bytes,
                       uint32_t length_bytes) {
  return {nbd::kRequestMagic, 0,           static_cast<uint16_t>(command), cookie,
          offset_bytes,       length_bytes};
}

// `count` equal requests in one piece of bytes: sent one by one they would fill the socket's buffer
// when the server stops reading, and so stop the test.
Bytes Pipeline(Command command, uint64_t count, uint32_t length_bytes) {
  Bytes stream;
  for (uint64_t cookie = 0; cookie < count; ++cookie) {
    const Bytes request = EncodeRequest(RequestOf(command, cookie, 0, length_bytes));
    stream.insert(stream.end(), request.begin(), request.end());
  }
  return stream;
}

class NbdServerTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/weir-nbd-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/vol.sock";
    server_ = Listen();
  }
  void TearDown() override {
    thread_.Call([&] {
      device_.hold = false;
      device_.Release();
    });
    if (server_) CloseServer(server_);
    ::unlink(path_.c_str());
    EXPECT_EQ(::rmdir(folder_.c_str()), 0) << "something was left in the socket's folder";
  }

  std::unique_ptr<NbdServer> Listen() {
    std::unique_ptr<NbdServer> server;
    thread_.Call([&] {
      auto listened = NbdServer::Listen(thread_.loop(), device_, {path_, "vol"});
      ASSERT_TRUE(listened.ok()) << listened.error().what;
      server = std::move(listened.value());
    });
    return server;
  }
  void CloseServer(std::unique_ptr<NbdServer>& server) {
    std::promise<void> closed;
    thread_.Call([&] { server->Close([&] { closed.set_value(); }); });
    closed.get_future().wait();
    thread_.Call([&] { server.reset(); });
  }
  NbdClient Connected() {
    NbdClient client(path_);
    EXPECT_TRUE(client.Negotiate("vol"));
    return client;
  }
  void AwaitConnections(size_t count) {
    thread_.Until([&] { return server_->connections() == count; });
  }
  void AwaitSubmitted(int count) {
    thread_.Until([&] { return device_.submitted >= count; });
  }
  void Hold(bool hold) {
    thread_.Call([&] {
      device_.hold = hold;
      if (!hold) device_.Release(true);
    });
  }
  std::vector<TestDevice::Seen> Seen() {
    std::vector<TestDevice::Seen> seen;
    thread_.Call([&] { seen = device_.seen; });
    return seen;
  }

  std::string folder_;
  std::string path_;
  TestDevice device_{kSizeBytes};
  LoopThread thread_;
  std::unique_ptr<NbdServer> server_;
};

TEST_F(NbdServerTest, WhatWasWrittenIsRead) {
  NbdClient client = Connected();
  EXPECT_EQ(client.size_bytes(), kSizeBytes);
  const Bytes data = Pattern(3 * 4096, 1);
  EXPECT_EQ(client.Write(8192, data), 0U);
  EXPECT_EQ(client.Simple(Command::kFlush, 0, 0), 0U);
  Bytes read(data.size());
  EXPECT_EQ(client.Read(8192, read), 0U);
  EXPECT_EQ(read, data);
  EXPECT_EQ(client.Simple(Command::kTrim, 8192, 4096), 0U);
  EXPECT_EQ(client.Simple(Command::kWriteZeroes, 12288, 4096, nbd::kCommandNoHole), 0U);
  EXPECT_EQ(client.Read(8192, read), 0U);
  EXPECT_TRUE(std::all_of(read.begin(), read.begin() + 8192,
                          [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_TRUE(std::equal(read.begin() + 8192, read.end(), data.begin() + 8192));
}

TEST_F(NbdServerTest, DeviceSeesOperationFlagsAndRange) {
  NbdClient client = Connected();
  EXPECT_EQ(client.Write(4096, Bytes(8192), nbd::kCommandFua), 0U);
  EXPECT_EQ(client.Simple(Command::kTrim, 0, 1U << 20, nbd::kCommandFua), 0U);
  EXPECT_EQ(client.Simple(Command::kFlush, 0, 0), 0U);
  const auto seen = Seen();
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen[0].op, IoOp::kWrite);
  EXPECT_TRUE(seen[0].fua);
  EXPECT_EQ(seen[0].offset_bytes, 4096U);
  EXPECT_EQ(seen[0].length_bytes, 8192U);
  EXPECT_EQ(seen[1].op, IoOp::kDiscard);
  EXPECT_TRUE(seen[1].fua);
  EXPECT_EQ(seen[2].op, IoOp::kFlush);
  EXPECT_FALSE(seen[2].fua);
}

TEST_F(NbdServerTest, RequestsOutsideTheRulesAreRefusedAndTheConnectionLives) {
  NbdClient client = Connected();
  const Bytes block(4096);
  EXPECT_EQ(client.Write(1, block), nbd::kErrorInvalid);
  EXPECT_EQ(client.Write(0, Bytes(512)), nbd::kErrorInvalid);
  EXPECT_EQ(client.Write(kSizeBytes, block), nbd::kErrorNoSpace);
  EXPECT_EQ(client.Write(~0ULL - 4095, block), nbd::kErrorNoSpace);
  EXPECT_EQ(client.Simple(Command::kWriteZeroes, kSizeBytes - 4096, 8192), nbd::kErrorNoSpace);
  EXPECT_EQ(client.Simple(Command::kRead, kSizeBytes, 4096), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kRead, 0, 0), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kRead, 0, (32U << 20) + 4096), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kTrim, kSizeBytes, 4096), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kFlush, 4096, 0), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kRead, 0, 4096, 1U << 4), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(static_cast<Command>(5), 0, 4096), nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(static_cast<Command>(77), 0, 4096), nbd::kErrorInvalid);
  EXPECT_TRUE(Seen().empty());
  EXPECT_EQ(client.Write(0, block), 0U);
}

TEST_F(NbdServerTest, PayloadOfAnOverlongWriteIsSkipped) {
  NbdClient client = Connected();
  const uint32_t length_bytes = (32U << 20) + 4096;
  ASSERT_TRUE(
      client.SendRequest(RequestOf(Command::kWrite, 7, 0, length_bytes), Pattern(length_bytes, 3)));
  const auto reply = client.ReceiveReply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->cookie, 7U);
  EXPECT_EQ(reply->error, nbd::kErrorInvalid);
  EXPECT_EQ(client.Simple(Command::kFlush, 0, 0), 0U);
}

TEST_F(NbdServerTest, LargestRequestsPass) {
  NbdClient client = Connected();
  const Bytes data = Pattern(32U << 20, 4);
  EXPECT_EQ(client.Write(4096, data), 0U);
  Bytes read(data.size());
  EXPECT_EQ(client.Read(4096, read), 0U);
  EXPECT_EQ(read, data);
}

TEST_F(NbdServerTest, DeviceErrorsReachTheClient) {
  NbdClient client = Connected();
  for (const auto& [result, wire] : {std::pair{-EIO, nbd::kErrorIo},
                                     {-ENOSPC, nbd::kErrorNoSpace},
                                     {-EINVAL, nbd::kErrorInvalid},
                                     {-ESTALE, nbd::kErrorIo}}) {
    thread_.Call([&, value = result] { device_.result = value; });
    EXPECT_EQ(client.Write(0, Bytes(4096)), wire);
    EXPECT_EQ(client.Simple(Command::kRead, 0, 4096), wire);
  }
}

TEST_F(NbdServerTest, AnyFragmentationOfAPipelineArrivesWhole) {
  constexpr uint32_t kSeed = 77;
  SeededRandom random(kSeed);
  Bytes expected(kSizeBytes);
  Bytes stream;
  constexpr uint64_t kRequests = 400;
  for (uint64_t cookie = 0; cookie < kRequests; ++cookie) {
    // Up to 160 KiB, so that requests end everywhere in the server's receive chunks.
    const uint32_t length_bytes = 4096 * (1 + random() % 40);
    const uint64_t offset_bytes = 4096ULL * (random() % (kSizeBytes / 4096 - 40));
    const Bytes data = Pattern(length_bytes, random());
    std::copy(data.begin(), data.end(), expected.begin() + static_cast<ptrdiff_t>(offset_bytes));
    const Bytes header =
        EncodeRequest(RequestOf(Command::kWrite, cookie, offset_bytes, length_bytes));
    stream.insert(stream.end(), header.begin(), header.end());
    stream.insert(stream.end(), data.begin(), data.end());
  }
  NbdClient client = Connected();
  std::thread sender([&] {
    for (size_t at = 0; at < stream.size();) {
      const size_t step = std::min<size_t>(1 + random() % 200'000, stream.size() - at);
      ASSERT_TRUE(client.SendBytes(std::span(stream).subspan(at, step)));
      at += step;
    }
  });
  for (uint64_t cookie = 0; cookie < kRequests; ++cookie) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply) << "seed " << kSeed;
    EXPECT_EQ(reply->cookie, cookie);
    EXPECT_EQ(reply->error, 0U);
  }
  sender.join();
  Bytes read(16U << 20);
  for (uint64_t at = 0; at < kSizeBytes; at += read.size()) {
    ASSERT_EQ(client.Read(at, read), 0U);
    ASSERT_TRUE(std::equal(read.begin(), read.end(), expected.begin() + static_cast<ptrdiff_t>(at)))
        << "seed " << kSeed;
  }
}

TEST_F(NbdServerTest, AnswersMayComeInAnyOrder) {
  NbdClient client = Connected();
  ASSERT_EQ(client.Write(0, Pattern(4096 * 8, 5)), 0U);
  const Bytes expected = Pattern(4096 * 8, 5);
  Hold(true);
  for (uint64_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(client.SendRequest(RequestOf(Command::kRead, i, i * 4096, 4096)));
  }
  AwaitSubmitted(9);
  Hold(false);  // Newest first.
  for (uint64_t i = 8; i-- > 0;) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->cookie, i);
    const auto data = client.ReceiveBytes(4096);
    ASSERT_TRUE(data);
    EXPECT_TRUE(std::equal(data->begin(), data->end(),
                           expected.begin() + static_cast<ptrdiff_t>(i * 4096)));
  }
}

TEST_F(NbdServerTest, PayloadStaysInPlaceWhileTheConnectionReceivesOn) {
  Hold(true);
  NbdClient client = Connected();
  constexpr int kWrites = 20;
  for (uint32_t i = 0; i < kWrites; ++i) {
    ASSERT_TRUE(
        client.SendRequest(RequestOf(Command::kWrite, i, i * 8192, 8192), Pattern(8192, 100 + i)));
    AwaitSubmitted(static_cast<int>(i) + 1);
  }
  Hold(false);
  for (uint32_t i = 0; i < kWrites; ++i) ASSERT_TRUE(client.ReceiveReply());
  for (uint32_t i = 0; i < kWrites; ++i) {
    Bytes read(8192);
    ASSERT_EQ(client.Read(i * 8192, read), 0U);
    EXPECT_EQ(read, Pattern(8192, 100 + i)) << "write " << i;
  }
}

TEST_F(NbdServerTest, PeerThatDiesWithRequestsInTheDeviceIsForgottenWhenTheyReturn) {
  Hold(true);
  {
    NbdClient client = Connected();
    ASSERT_TRUE(client.SendRequest(RequestOf(Command::kWrite, 1, 0, 4096), Pattern(4096, 6)));
    ASSERT_TRUE(client.SendRequest(RequestOf(Command::kRead, 2, 0, 4096)));
    AwaitSubmitted(2);
  }
  // The device still holds the payload: the write must land with the right bytes.
  NbdClient other = Connected();
  Hold(false);
  AwaitConnections(1);
  Bytes read(4096);
  EXPECT_EQ(other.Read(0, read), 0U);
  EXPECT_EQ(read, Pattern(4096, 6));
}

TEST_F(NbdServerTest, HeldRequestsAreBoundedAndTheRestFollows) {
  Hold(true);
  NbdClient client = Connected();
  constexpr uint64_t kMany = 3 * NbdConnection::kRequestsMax;
  ASSERT_TRUE(client.SendBytes(Pipeline(Command::kFlush, kMany, 0)));
  AwaitSubmitted(static_cast<int>(NbdConnection::kRequestsMax));
  NbdClient other = Connected();  // Its handshake proves that later rounds have passed.
  EXPECT_EQ(Seen().size(), NbdConnection::kRequestsMax);
  std::thread receiver([&] {
    for (uint64_t i = 0; i < kMany; ++i) ASSERT_TRUE(client.ReceiveReply());
  });
  Hold(false);
  receiver.join();
  EXPECT_EQ(Seen().size(), kMany);
}

TEST_F(NbdServerTest, ClientThatDoesNotReadItsRepliesIsBoundedAndServedLater) {
  NbdClient client = Connected();
  const Bytes data = Pattern(1U << 20, 8);
  ASSERT_EQ(client.Write(0, data), 0U);
  constexpr uint64_t kReads = 500;
  ASSERT_TRUE(client.SendBytes(Pipeline(Command::kRead, kReads, 1U << 20)));
  NbdClient other = Connected();
  EXPECT_EQ(other.Simple(Command::kFlush, 0, 0), 0U);
  constexpr size_t kSocketSlack = 16;  // replies that the kernel's socket buffer took
  EXPECT_LE(Seen().size(), 2 + NbdConnection::kHeldBytesMax / data.size() + kSocketSlack);
  for (uint64_t i = 0; i < kReads; ++i) {
    const auto reply = client.ReceiveReply();
    ASSERT_TRUE(reply);
    ASSERT_EQ(reply->cookie, i);
    ASSERT_EQ(client.ReceiveBytes(data.size()), data);
  }
}

TEST_F(NbdServerTest, SixteenConnectionsServeTheirOwnRanges) {
  constexpr uint64_t kClients = 16;
  constexpr uint64_t kRangeBytes = kSizeBytes / kClients;
  std::vector<std::thread> threads;
  for (uint64_t id = 0; id < kClients; ++id) {
    threads.emplace_back([this, id] {
      NbdClient client = Connected();
      for (uint32_t i = 0; i < 50; ++i) {
        const uint64_t offset_bytes = id * kRangeBytes + i * 8192;
        const Bytes data = Pattern(8192, static_cast<uint32_t>(id * 1000 + i));
        ASSERT_EQ(client.Write(offset_bytes, data), 0U);
        Bytes read(data.size());
        ASSERT_EQ(client.Read(offset_bytes, read), 0U);
        ASSERT_EQ(read, data);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  AwaitConnections(0);
}

TEST_F(NbdServerTest, DisconnectAnswersWhatIsInTheDeviceAndCloses) {
  Hold(true);
  NbdClient client = Connected();
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kFlush, 9, 0, 0)));
  client.Disconnect();
  AwaitSubmitted(1);
  Hold(false);
  const auto reply = client.ReceiveReply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->cookie, 9U);
  EXPECT_TRUE(client.ReceivesEnd());
  AwaitConnections(0);
}

TEST_F(NbdServerTest, BadMagicClosesThatConnectionOnly) {
  NbdClient good = Connected();
  NbdClient bad = Connected();
  nbd::Request request = RequestOf(Command::kFlush, 1, 0, 0);
  request.magic ^= 1;
  ASSERT_TRUE(bad.SendRequest(request));
  EXPECT_TRUE(bad.ReceivesEnd());
  AwaitConnections(1);
  EXPECT_EQ(good.Simple(Command::kFlush, 0, 0), 0U);
}

TEST_F(NbdServerTest, RandomBytesNeverHarmOthers) {
  constexpr uint32_t kSeed = 4711;
  SeededRandom random(kSeed);
  NbdClient good = Connected();
  for (int run = 0; run < 300; ++run) {
    NbdClient noisy(path_);
    if (run % 3 != 0) {
      ASSERT_TRUE(noisy.Negotiate("vol"));
    }
    Bytes noise(random() % 5000);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    // Some runs begin with a right magic, so that the fields behind it are random.
    if (run % 3 == 2 && noise.size() >= 4) nbd::StoreBig(noise.data(), nbd::kRequestMagic);
    noisy.SendBytes(noise);
    if (run % 2 == 0) noisy.Reset();
    ASSERT_EQ(good.Write(0, Pattern(4096, 9)), 0U) << "seed " << kSeed << " run " << run;
    Bytes read(4096);
    ASSERT_EQ(good.Read(0, read), 0U);
    ASSERT_EQ(read, Pattern(4096, 9)) << "seed " << kSeed << " run " << run;
  }
  AwaitConnections(1);
}

TEST_F(NbdServerTest, ConnectionsBeyondTheLimitAreTurnedAway) {
  std::vector<NbdClient> clients;
  for (size_t i = 0; i < NbdServer::kConnectionsMax; ++i) clients.push_back(Connected());
  NbdClient surplus(path_);
  EXPECT_TRUE(surplus.ReceivesEnd());
  EXPECT_EQ(clients.front().Simple(Command::kFlush, 0, 0), 0U);
  clients.pop_back();
  AwaitConnections(NbdServer::kConnectionsMax - 1);
  EXPECT_EQ(Connected().Simple(Command::kFlush, 0, 0), 0U);
}

TEST_F(NbdServerTest, SuccessorTakesThePathWhileThePredecessorServesOn) {
  NbdClient old_client = Connected();
  std::unique_ptr<NbdServer> successor = Listen();
  NbdClient new_client = Connected();
  AwaitConnections(1);
  EXPECT_EQ(old_client.Simple(Command::kFlush, 0, 0), 0U);
  CloseServer(server_);
  struct stat status {};
  EXPECT_EQ(::stat(path_.c_str(), &status), 0) << "the successor's socket was removed";
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
  EXPECT_EQ(new_client.Simple(Command::kFlush, 0, 0), 0U);
  CloseServer(successor);
  EXPECT_NE(::stat(path_.c_str(), &status), 0);
}

TEST_F(NbdServerTest, CloseWaitsForTheDeviceAndAnswersBeforeItEnds) {
  Hold(true);
  NbdClient client = Connected();
  ASSERT_TRUE(client.SendRequest(RequestOf(Command::kWrite, 3, 0, 4096), Bytes(4096)));
  AwaitSubmitted(1);
  std::promise<void> closed;
  auto closing = closed.get_future();
  thread_.Call([&] { server_->Close([&] { closed.set_value(); }); });
  thread_.Call([] {});
  EXPECT_EQ(closing.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  Hold(false);
  const auto reply = client.ReceiveReply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->cookie, 3U);
  EXPECT_TRUE(client.ReceivesEnd());
  closing.wait();
  thread_.Call([&] { server_.reset(); });
}

TEST_F(NbdServerTest, ListenRefusesAFolderThatDoesNotExist) {
  thread_.Call([&] {
    const auto listened =
        NbdServer::Listen(thread_.loop(), device_, {folder_ + "/absent/vol.sock", "vol"});
    ASSERT_FALSE(listened.ok());
    EXPECT_EQ(listened.error().code, ENOENT);
  });
}

}  // namespace
}  // namespace weir
