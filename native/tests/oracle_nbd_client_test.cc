// Goal: the oracle's NBD client tells a failed request, a server that went away and a server that
// answers wrongly apart.
// Method: a server in the test that negotiates and then answers as each test says.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>

#include "engine/base/types.h"
#include "engine/base/unique_fd.h"
#include "oracle/nbd_wire.h"
#include "oracle/target.h"
#include "tests/support/scratch_folder.h"

namespace weir::oracle {
namespace {

using nbd::Big;

// One connection's server side, with blocking calls that must succeed.
class Peer {
 public:
  explicit Peer(int fd) : fd_(fd) {}
  template <typename T>
  T Receive() {
    T value;
    WEIR_CHECK(::recv(fd_.get(), &value, sizeof(value), MSG_WAITALL) == sizeof(value));
    return value;
  }
  template <typename T>
  void Send(const T& value) {
    WEIR_CHECK(::send(fd_.get(), &value, sizeof(value), MSG_NOSIGNAL) == sizeof(value));
  }
  void Reply(uint64_t cookie_as_sent, uint32_t error = 0) {
    Send(nbd::ReplyHeader{Big(nbd::kReplyMagic), Big(error), cookie_as_sent});
  }

 private:
  UniqueFd fd_;
};

void Negotiate(Peer& peer, uint16_t flags) {
  peer.Send(nbd::Greeting{Big(nbd::kServerMagic), Big(nbd::kOptionMagic), Big(uint16_t{3})});
  peer.Receive<uint32_t>();
  const auto option = peer.Receive<nbd::OptionHeader>();
  for (uint32_t i = 0; i < Big<uint32_t>(option.bytes); ++i) peer.Receive<uint8_t>();
  const uint32_t go = Big(nbd::kOptionGo);
  peer.Send(nbd::OptionReply{Big(nbd::kOptionReplyMagic), go, Big(nbd::kReplyInfo),
                             Big(uint32_t{sizeof(nbd::ExportInfo)})});
  peer.Send(nbd::ExportInfo{Big(nbd::kInfoExport), Big(uint64_t{1 << 20}), Big(flags)});
  peer.Send(nbd::OptionReply{Big(nbd::kOptionReplyMagic), go, Big(nbd::kReplyAck), 0});
}

class OracleNbdClient : public ::testing::Test {
 protected:
  OracleNbdClient() : path_(folder_.path() + "/socket") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    WEIR_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) ==
               0);
    WEIR_CHECK(::listen(listener_.get(), 1) == 0);
  }
  ~OracleNbdClient() override {
    if (server_.joinable()) server_.join();
  }

  std::unique_ptr<Target> Serve(std::function<void(Peer&)> answer,
                                uint16_t flags = nbd::kSendsFlush) {
    server_ = std::thread([this, answer = std::move(answer), flags] {
      Peer peer(::accept(listener_.get(), nullptr, nullptr));
      Negotiate(peer, flags);
      answer(peer);
    });
    auto target = OpenTarget({.address = "nbd:" + path_});
    WEIR_CHECK(target.ok());
    return std::move(target.value());
  }

  test::ScratchFolder folder_;
  std::string path_;
  UniqueFd listener_;
  std::thread server_;
};

TEST_F(OracleNbdClient, AFailedRequestIsACompletionWithItsErrno) {
  const auto target =
      Serve([](Peer& peer) { peer.Reply(peer.Receive<nbd::RequestHeader>().cookie, EIO); });
  EXPECT_EQ(Perform(*target, {.op = Op::kFlush}).error().code, EIO);
}

TEST_F(OracleNbdClient, ReadsArriveWhateverTheSizeOfTheAnswersPieces) {
  constexpr uint32_t kCount = 100;  // more than the input buffer
  std::vector<std::byte> data(kCount * kBlockBytes);
  const auto target = Serve([](Peer& peer) {
    peer.Reply(peer.Receive<nbd::RequestHeader>().cookie);
    for (uint32_t i = 0; i < kCount; ++i) {
      std::array<std::byte, kBlockBytes> block;
      block.fill(static_cast<std::byte>(i));
      peer.Send(block);
    }
  });
  ASSERT_TRUE(Perform(*target, {.op = Op::kRead, .block_count = kCount, .data = data.data()}).ok());
  for (uint32_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(data[i * kBlockBytes], static_cast<std::byte>(i));
    EXPECT_EQ(data[(i + 1) * kBlockBytes - 1], static_cast<std::byte>(i));
  }
}

TEST_F(OracleNbdClient, AServerThatGoesAwayIsToldFromOneThatFails) {
  const auto target = Serve([](Peer& peer) { peer.Receive<nbd::RequestHeader>(); });
  EXPECT_EQ(Perform(*target, {.op = Op::kFlush}).error().code, kTargetGone);
}

TEST_F(OracleNbdClient, AnAnswerBeforeTheEndCounts) {
  const auto target =
      Serve([](Peer& peer) { peer.Reply(peer.Receive<nbd::RequestHeader>().cookie); });
  EXPECT_TRUE(Perform(*target, {.op = Op::kFlush}).ok());
  EXPECT_EQ(Perform(*target, {.op = Op::kFlush}).error().code, kTargetGone);
}

TEST_F(OracleNbdClient, AnAnswerCountsAlsoWhenTheServerTakesNoMoreRequests) {
  const auto target =
      Serve([](Peer& peer) { peer.Reply(peer.Receive<nbd::RequestHeader>().cookie); });
  const Request first{.op = Op::kFlush, .slot = 1};
  ASSERT_TRUE(target->Submit({&first, 1}).ok());
  server_.join();
  const Request second{.op = Op::kFlush, .slot = 2};
  ASSERT_TRUE(target->Submit({&second, 1}).ok());
  std::vector<Completion> done;
  ASSERT_TRUE(target->Wait(1000, done).ok());
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].slot, 1U);
  done.clear();
  EXPECT_EQ(target->Wait(1000, done).error().code, kTargetGone);
}

TEST_F(OracleNbdClient, ASecondAnswerToARequestIsAProtocolError) {
  const auto target = Serve([](Peer& peer) {
    const uint64_t cookie = peer.Receive<nbd::RequestHeader>().cookie;
    peer.Reply(cookie);
    peer.Receive<nbd::RequestHeader>();
    peer.Reply(cookie);
  });
  EXPECT_TRUE(Perform(*target, {.op = Op::kFlush}).ok());
  EXPECT_EQ(Perform(*target, {.op = Op::kFlush}).error().code, EPROTO);
}

TEST_F(OracleNbdClient, WhatTheExportDoesNotOfferIsRefused) {
  const auto target = Serve([](Peer&) {});
  EXPECT_EQ(Perform(*target, {.op = Op::kTrim, .block_count = 1}).error().code, EOPNOTSUPP);
}

}  // namespace
}  // namespace weir::oracle
