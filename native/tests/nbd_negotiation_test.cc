// Goal: the handshake answers well-formed clients as the protocol document says and turns malformed
// ones away within its bounds.
// Method: the pure state machine, fed with messages written out by hand, in any fragmentation, and
// with seeded random bytes.
#include "engine/nbd/nbd_negotiation.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/base/types.h"
#include "tests/support/nbd_client.h"
#include "tests/support/seeded_random.h"

namespace weir {
namespace {

using nbd::LoadBig;
using nbd::Option;
using nbd::OptionReply;
using Phase = NbdNegotiation::Phase;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kSizeBytes = 1ULL << 40;

Bytes ClientFlags(uint32_t flags) {
  Bytes out(sizeof(flags));
  nbd::StoreBig(out.data(), flags);
  return out;
}

Bytes Joined(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Bytes OptionOf(Option option, const Bytes& data = {}) {
  return EncodeOption(static_cast<uint32_t>(option), data);
}

Bytes Text(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

struct Outcome {
  Bytes answers;
  size_t taken = 0;
  Phase phase = Phase::kClosed;
};

// Feeds `in` in pieces of at most `piece` bytes, keeping what was not taken, as a connection does.
Outcome Feed(const Bytes& in, size_t piece = SIZE_MAX) {
  NbdNegotiation negotiation("vol");
  Outcome outcome;
  Bytes held;
  for (size_t at = 0; at < in.size();) {
    const size_t step = std::min(piece, in.size() - at);
    held.insert(held.end(), in.begin() + static_cast<ptrdiff_t>(at),
                in.begin() + static_cast<ptrdiff_t>(at + step));
    at += step;
    const size_t taken = negotiation.Consume(held, kSizeBytes, outcome.answers);
    EXPECT_LE(taken, held.size());
    held.erase(held.begin(), held.begin() + static_cast<ptrdiff_t>(taken));
    outcome.taken += taken;
  }
  outcome.phase = negotiation.phase();
  return outcome;
}

Outcome FeedOption(const Bytes& option) {
  return Feed(
      Joined({ClientFlags(nbd::kHandshakeFixedNewstyle | nbd::kHandshakeNoZeroes), option}));
}

struct ParsedReply {
  uint32_t option = 0;
  OptionReply type = OptionReply::kAck;
  Bytes data;
};

std::vector<ParsedReply> ParseReplies(const Bytes& bytes) {
  std::vector<ParsedReply> replies;
  size_t at = 0;
  while (at < bytes.size()) {
    EXPECT_GE(bytes.size() - at, nbd::kOptionReplyHeaderBytes);
    EXPECT_EQ(LoadBig<uint64_t>(bytes.data() + at), nbd::kOptionReplyMagic);
    const size_t length = LoadBig<uint32_t>(bytes.data() + at + 16);
    const auto data = bytes.begin() + static_cast<ptrdiff_t>(at + nbd::kOptionReplyHeaderBytes);
    replies.push_back({LoadBig<uint32_t>(bytes.data() + at + 8),
                       static_cast<OptionReply>(LoadBig<uint32_t>(bytes.data() + at + 12)),
                       Bytes(data, data + static_cast<ptrdiff_t>(length))});
    at += nbd::kOptionReplyHeaderBytes + length;
  }
  return replies;
}

TEST(NbdNegotiationTest, GreetingIsFixedNewstyle) {
  Bytes greeting;
  NbdNegotiation::AppendGreeting(greeting);
  EXPECT_EQ(greeting, Joined({Text("NBDMAGICIHAVEOPT"), {std::byte{0}, std::byte{3}}}));
}

TEST(NbdNegotiationTest, GoDescribesTheExportAndBeginsTransmission) {
  const Outcome outcome = FeedOption(OptionOf(Option::kGo, EncodeInfoQuery("vol")));
  EXPECT_EQ(outcome.phase, Phase::kTransmission);
  const auto replies = ParseReplies(outcome.answers);
  ASSERT_EQ(replies.size(), 3U);
  EXPECT_EQ(replies[0].type, OptionReply::kInfo);
  ASSERT_EQ(replies[0].data.size(), 12U);
  EXPECT_EQ(LoadBig<uint16_t>(replies[0].data.data()), nbd::kInfoExport);
  EXPECT_EQ(LoadBig<uint64_t>(replies[0].data.data() + 2), kSizeBytes);
  // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN.
  EXPECT_EQ(LoadBig<uint16_t>(replies[0].data.data() + 10), 0x16d);
  EXPECT_EQ(replies[1].type, OptionReply::kInfo);
  ASSERT_EQ(replies[1].data.size(), 14U);
  EXPECT_EQ(LoadBig<uint16_t>(replies[1].data.data()), nbd::kInfoBlockSize);
  EXPECT_EQ(LoadBig<uint32_t>(replies[1].data.data() + 2), 4096U);
  EXPECT_EQ(LoadBig<uint32_t>(replies[1].data.data() + 6), 4096U);
  EXPECT_EQ(LoadBig<uint32_t>(replies[1].data.data() + 10), 32U << 20);
  EXPECT_EQ(replies[2].type, OptionReply::kAck);
}

TEST(NbdNegotiationTest, InfoAnswersTheNameWhenAskedAndStaysInOptions) {
  const uint16_t infos[] = {nbd::kInfoName, nbd::kInfoBlockSize};
  const Outcome outcome = FeedOption(OptionOf(Option::kInfo, EncodeInfoQuery("", infos)));
  EXPECT_EQ(outcome.phase, Phase::kOptions);
  const auto replies = ParseReplies(outcome.answers);
  ASSERT_EQ(replies.size(), 4U);
  EXPECT_EQ(replies[2].data, Joined({{std::byte{0}, std::byte{1}}, Text("vol")}));
}

TEST(NbdNegotiationTest, ListNamesTheOneExport) {
  const Outcome outcome = FeedOption(OptionOf(Option::kList));
  const auto replies = ParseReplies(outcome.answers);
  ASSERT_EQ(replies.size(), 2U);
  EXPECT_EQ(replies[0].type, OptionReply::kServer);
  EXPECT_EQ(replies[0].data, Joined({ClientFlags(3), Text("vol")}));
  EXPECT_EQ(replies[1].type, OptionReply::kAck);
  EXPECT_EQ(ParseReplies(FeedOption(OptionOf(Option::kList, Text("x"))).answers)[0].type,
            OptionReply::kErrInvalid);
}

TEST(NbdNegotiationTest, ExportNameSkipsTheZeroesOnlyWhenBothSidesAgreed) {
  const Outcome agreed = FeedOption(OptionOf(Option::kExportName, Text("vol")));
  EXPECT_EQ(agreed.phase, Phase::kTransmission);
  EXPECT_EQ(agreed.answers.size(), 10U);
  const Outcome padded = Feed(Joined(
      {ClientFlags(nbd::kHandshakeFixedNewstyle), OptionOf(Option::kExportName, Text("vol"))}));
  EXPECT_EQ(padded.phase, Phase::kTransmission);
  EXPECT_EQ(padded.answers.size(), 134U);
  EXPECT_EQ(FeedOption(OptionOf(Option::kExportName, Text("other"))).phase, Phase::kClosed);
}

TEST(NbdNegotiationTest, AbortIsAcknowledgedAndCloses) {
  const Outcome outcome = FeedOption(OptionOf(Option::kAbort));
  EXPECT_EQ(outcome.phase, Phase::kClosed);
  EXPECT_EQ(ParseReplies(outcome.answers).at(0).type, OptionReply::kAck);
}

TEST(NbdNegotiationTest, UnknownOptionsAndExportsAreRefusedAndTheClientMayGoOn) {
  const Outcome outcome = FeedOption(Joined({EncodeOption(8, {}), OptionOf(Option::kStartTls),
                                             OptionOf(Option::kGo, EncodeInfoQuery("other")),
                                             OptionOf(Option::kGo, EncodeInfoQuery(""))}));
  EXPECT_EQ(outcome.phase, Phase::kTransmission);
  const auto replies = ParseReplies(outcome.answers);
  ASSERT_EQ(replies.size(), 6U);
  EXPECT_EQ(replies[0].option, 8U);
  EXPECT_EQ(replies[0].type, OptionReply::kErrUnsupported);
  EXPECT_EQ(replies[1].type, OptionReply::kErrUnsupported);
  EXPECT_EQ(replies[2].type, OptionReply::kErrUnknownExport);
}

TEST(NbdNegotiationTest, InfoQueriesWithDisagreeingLengthsAreInvalid) {
  const Bytes good = EncodeInfoQuery("vol");
  Bytes longer = good;
  longer.push_back(std::byte{0});
  Bytes name_too_long = good;
  name_too_long[3] = std::byte{200};
  Bytes huge_name = good;
  huge_name[0] = std::byte{0xff};
  Bytes count_too_large = good;
  count_too_large.back() = std::byte{9};
  for (const Bytes& bad : {Bytes{}, Bytes(5), longer, name_too_long, huge_name, count_too_large}) {
    const Outcome outcome = FeedOption(OptionOf(Option::kGo, bad));
    EXPECT_EQ(outcome.phase, Phase::kOptions);
    EXPECT_EQ(ParseReplies(outcome.answers).at(0).type, OptionReply::kErrInvalid);
  }
}

TEST(NbdNegotiationTest, MalformedMessagesClose) {
  EXPECT_EQ(Feed(ClientFlags(0)).phase, Phase::kClosed);
  EXPECT_EQ(Feed(ClientFlags(nbd::kHandshakeFixedNewstyle | 4)).phase, Phase::kClosed);
  Bytes bad_magic = OptionOf(Option::kList);
  bad_magic[0] = std::byte{0};
  EXPECT_EQ(FeedOption(bad_magic).phase, Phase::kClosed);
  // The header alone decides: the server does not wait for 4 GiB.
  Bytes endless = OptionOf(Option::kList);
  nbd::StoreBig<uint32_t>(endless.data() + 12, NbdNegotiation::kOptionDataBytesMax + 1);
  EXPECT_EQ(FeedOption(endless).phase, Phase::kClosed);
  Bytes many;
  for (uint32_t i = 0; i <= NbdNegotiation::kOptionsMax; ++i) {
    many = Joined({many, OptionOf(Option::kList)});
  }
  EXPECT_EQ(FeedOption(many).phase, Phase::kClosed);
}

TEST(NbdNegotiationTest, FragmentationChangesNothing) {
  const Bytes in = Joined({ClientFlags(nbd::kHandshakeFixedNewstyle), EncodeOption(8, Text("abc")),
                           OptionOf(Option::kList), OptionOf(Option::kInfo, EncodeInfoQuery("x")),
                           OptionOf(Option::kGo, EncodeInfoQuery("vol"))});
  const Outcome whole = Feed(in);
  EXPECT_EQ(whole.phase, Phase::kTransmission);
  for (const size_t piece : {1U, 2U, 7U, 16U, 31U}) {
    const Outcome pieces = Feed(in, piece);
    EXPECT_EQ(pieces.answers, whole.answers) << "pieces of " << piece;
    EXPECT_EQ(pieces.phase, whole.phase);
    EXPECT_EQ(pieces.taken, whole.taken);
  }
}

TEST(NbdNegotiationTest, RequestsBehindTheHandshakeAreLeftAlone) {
  const Bytes handshake = Joined(
      {ClientFlags(nbd::kHandshakeFixedNewstyle), OptionOf(Option::kGo, EncodeInfoQuery(""))});
  const Outcome outcome = Feed(Joined({handshake, Bytes(100)}));
  EXPECT_EQ(outcome.phase, Phase::kTransmission);
  EXPECT_EQ(outcome.taken, handshake.size());
}

TEST(NbdNegotiationTest, RandomBytesNeitherCrashNorHoldMemory) {
  constexpr uint32_t kSeed = 20240607;
  SeededRandom random(kSeed);
  for (int run = 0; run < 2000; ++run) {
    Bytes in = ClientFlags(nbd::kHandshakeFixedNewstyle);
    // Half of the runs are valid messages with a few bytes changed: those reach deeper.
    for (int option = 0; option < 4; ++option) {
      Bytes noise(random() % 40);
      for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
      const Bytes query = run % 2 == 0 ? noise : EncodeInfoQuery("vol");
      in = Joined({in, EncodeOption(random() % 12, query)});
    }
    for (int flip = run % 4; flip > 0; --flip)
      in[random() % in.size()] = static_cast<std::byte>(random());
    const Outcome outcome = Feed(in, 1 + random() % 64);
    EXPECT_LE(outcome.taken, in.size()) << "seed " << kSeed << " run " << run;
    EXPECT_LT(outcome.answers.size(), 4096U) << "seed " << kSeed << " run " << run;
  }
}

}  // namespace
}  // namespace weir
