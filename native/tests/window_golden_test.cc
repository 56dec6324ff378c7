// Goal: engines of different releases that both know `window-1` understand each other in the
// window, whoever is the successor. Method: the messages of that version as they were written down
// (csi-node/handoff/golden/window-1.txt, by a program that shares nothing with this one). Each is
// read and written as it was; and a whole handoff goes through a relay that lets only these bytes
// pass, with each field of a volume at its place of then.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "engine/base/monotonic_clock.h"
#include "engine/handoff/window_messages.h"
#include "engine/nbd/nbd_handover_state.h"
#include "tests/support/handoff_scene.h"

namespace weir::testing {
namespace {

using window::Kind;
using GoldenBytes = std::vector<std::byte>;

constexpr size_t kHeadBytes = 16;
constexpr size_t kVolumeBytes = 96;
constexpr size_t kKindAt = 8;

std::map<std::string, GoldenBytes> ReadGolden() {
  const std::filesystem::path tests = std::filesystem::path(__FILE__).parent_path();
  std::ifstream file(tests.parent_path().parent_path() / "csi-node/handoff/golden/window-1.txt");
  EXPECT_TRUE(file.good()) << "the golden file is missing";
  std::map<std::string, GoldenBytes> golden;
  std::string name;
  std::string hex;
  while (file >> name >> hex) {
    for (size_t at = 0; at + 1 < hex.size(); at += 2) {
      golden[name].push_back(static_cast<std::byte>(std::stoi(hex.substr(at, 2), nullptr, 16)));
    }
  }
  return golden;
}

const std::array<std::pair<const char*, Kind>, 8> kKinds = {{
    {"ready", Kind::kReady},
    {"rest", Kind::kRest},
    {"rested", Kind::kRested},
    {"frozen", Kind::kFrozen},
    {"serving", Kind::kServing},
    {"taken", Kind::kTaken},
    {"refused", Kind::kRefused},
    {"kept", Kind::kKept},
}};

TEST(HandoffWindowVersion1, EveryMessageIsReadAndWrittenAsItWas) {
  auto golden = ReadGolden();
  for (const auto& [name, kind] : kKinds) {
    const auto message = window::Decode(golden[name]);
    ASSERT_TRUE(message.has_value()) << name;
    EXPECT_EQ(message->kind, kind);
    EXPECT_EQ(window::Encode(*message), golden[name]) << name;
  }
  EXPECT_EQ(window::Decode(golden["refused"])->reason, "the journal is not whole");
  EXPECT_EQ(window::Decode(golden["kept"])->reason, "the other engine closed the connection");
  auto newer = golden["ready"];
  newer[4] = std::byte{2};
  EXPECT_FALSE(window::Decode(newer).has_value()) << "another version is not guessed at";
}

TEST(HandoffWindowVersion1, AVolumeMeansWhatItMeant) {
  const auto message = window::Decode(ReadGolden()["serving"]);
  ASSERT_TRUE(message.has_value());
  const window::VolumeBody& volume = message->volume;
  EXPECT_EQ(window::UidOf(volume).bytes[0], std::byte{0x10});
  EXPECT_EQ(window::UidOf(volume).bytes[15], std::byte{0x1f});
  const JournalHandover journal = window::HandoverOf(volume);
  EXPECT_EQ(journal.committed_seq, 0x1122334455U);
  EXPECT_EQ(journal.synced_seq, 0x1122334400U);
  EXPECT_EQ(journal.next_number, 9U);
  EXPECT_EQ(journal.newest_number, 8U);
  EXPECT_EQ(journal.newest_end, 0x4000U);
  EXPECT_TRUE(journal.newest_sealed);
  EXPECT_EQ(volume.transport, static_cast<uint8_t>(window::Transport::kUblk));
  EXPECT_EQ(volume.ublk_depth, 128U);
  EXPECT_EQ(volume.ublk_id, 3U);
  EXPECT_EQ(volume.ublk_max_io_bytes, 524288U);
  EXPECT_EQ(volume.frozen_ns, 1001U);
  EXPECT_EQ(volume.rested_ns, 1002U);
  EXPECT_EQ(volume.left_ns, 1003U);
  EXPECT_EQ(volume.claimed_ns, 1004U);
  EXPECT_EQ(volume.serving_ns, 1005U);
}

TEST(HandoffWindowVersion1, AnNbdClientsStateIsReadAndWrittenAsItWas) {
  const auto golden = ReadGolden()["nbd-state"];
  std::span<const std::byte> bytes = golden;
  const auto state = DecodeNbdHandover(bytes);
  ASSERT_TRUE(state.has_value());
  EXPECT_TRUE(bytes.empty());
  EXPECT_TRUE(state->negotiation.no_zeroes);
  EXPECT_EQ(state->negotiation.options, 1U);
  EXPECT_EQ(state->skip_bytes, 7U);
  EXPECT_EQ(state->input.size(), 3U);
  EXPECT_EQ(state->output.size(), 2U);
  GoldenBytes written;
  EncodeNbdHandover(*state, written);
  EXPECT_EQ(written, golden);
}

// Lets through what version 1 would have sent, and breaks off at anything else.
class RelayOf1 {
 public:
  RelayOf1(HandoffSocket& from, HandoffSocket& to) : thread_([&] { Run(from, to); }) {}
  ~RelayOf1() { thread_.join(); }
  RelayOf1(const RelayOf1&) = delete;
  RelayOf1& operator=(const RelayOf1&) = delete;

 private:
  void Run(HandoffSocket& from, HandoffSocket& to) {
    auto golden = ReadGolden();
    const uint64_t until_ns = MonotonicNs() + 30'000'000'000ULL;
    for (;;) {
      auto received = from.Receive(until_ns);
      if (!received.ok()) break;  // The side that has ended.
      const GoldenBytes& bytes = received.value().bytes;
      ASSERT_GE(bytes.size(), kHeadBytes);
      const auto kind = static_cast<size_t>(bytes[kKindAt]);
      ASSERT_TRUE(kind >= 1 && kind <= kKinds.size());
      GoldenBytes as_then = golden[kKinds[kind - 1].first];
      ASSERT_TRUE(std::equal(as_then.begin(), as_then.begin() + kHeadBytes, bytes.begin()));
      ASSERT_EQ(bytes.size(), as_then.size());
      if (as_then.size() == kHeadBytes + kVolumeBytes) {
        std::copy(bytes.begin() + kHeadBytes, bytes.end(), as_then.begin() + kHeadBytes);
      }
      std::vector<int> fds;
      for (const UniqueFd& fd : received.value().fds) fds.push_back(fd.get());
      if (!to.Send(as_then, fds, until_ns).ok()) break;
    }
    to.Shutdown();
  }
  std::thread thread_;
};

TEST(HandoffWindowVersion1, AWholeHandoffSaysNothingElse) {
  HandoffScene scene(2);
  auto [predecessor, relay_of_old] = HandoffSocket::Pair();
  auto [relay_of_new, successor] = HandoffSocket::Pair();
  std::vector<std::unique_ptr<VolumeRig>> old = scene.Open(false);
  HandoffScene::Fill(old, 100);
  HandoffScene::Hold(old);
  const auto fresh = scene.Open(true);
  GiveOutcome given;
  TakeOutcome taken;
  {
    const RelayOf1 there(*relay_of_old, *relay_of_new);
    const RelayOf1 back(*relay_of_new, *relay_of_old);
    std::thread taking([&, &socket = *successor] {
      taken = HandoffScene::Take(scene.Options(socket, "new"), fresh);
    });
    given = HandoffScene::Give(scene.Options(*predecessor, "old"), old);
    taking.join();
    predecessor.reset();
    successor.reset();
  }
  EXPECT_EQ(given.kind, GiveOutcome::Kind::kGiven) << given.reason;
  EXPECT_EQ(taken.kind, TakeOutcome::Kind::kTaken) << taken.reason;
  EXPECT_EQ(given.devices.size(), 2U);
  old.clear();
  HandoffScene::ExpectFilled(fresh, 100);
}

}  // namespace
}  // namespace weir::testing
