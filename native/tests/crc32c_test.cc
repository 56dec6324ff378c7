// Goal: CRC32C is the one of RFC 3720 and continues over split input.
// Method: the RFC's vectors (B.4), the customary check value, every split point of a buffer against
//   the checksum of the whole, and a bitwise reference over random lengths and alignments, for
//   both ways of computing it.
#include "engine/base/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string_view>
#include <vector>

namespace weir {
namespace {

std::vector<std::byte> Bytes(std::string_view text) {
  std::vector<std::byte> bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

uint32_t Reference(std::span<const std::byte> data) {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, reflected
  uint32_t crc = ~0U;
  for (const std::byte byte : data) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kPolynomial : 0U);
  }
  return ~crc;
}

TEST(Crc32c, MatchesTheRfcVectors) {
  std::array<std::byte, 32> data{};
  EXPECT_EQ(Crc32c(data), 0x8a9136aaU);
  data.fill(std::byte{0xff});
  EXPECT_EQ(Crc32c(data), 0x62a8ab43U);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  EXPECT_EQ(Crc32c(data), 0x46dd794eU);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(Crc32c(data), 0x113fdb5cU);
}

TEST(Crc32c, MatchesTheScsiReadCommandOfTheRfc) {
  std::array<std::byte, 48> data{};
  data[0] = std::byte{0x01};
  data[1] = std::byte{0xc0};
  data[16] = std::byte{0x14};
  data[22] = std::byte{0x04};
  data[27] = std::byte{0x14};
  data[31] = std::byte{0x18};
  data[32] = std::byte{0x28};
  data[40] = std::byte{0x02};
  EXPECT_EQ(Crc32c(data), 0xd9963a56U);
}

TEST(Crc32c, MatchesTheCheckValue) {
  EXPECT_EQ(Crc32c(Bytes("123456789")), 0xe3069283U);
  EXPECT_EQ(Crc32c({}), 0U);
}

TEST(Crc32c, ContinuesAtEverySplit) {
  const std::vector<std::byte> data =
      Bytes("a volume's append-only local log of acknowledged writes");
  const uint32_t whole = Crc32c(data);
  for (size_t split = 0; split <= data.size(); ++split) {
    const auto head = std::span(data).first(split);
    EXPECT_EQ(Crc32cExtend(Crc32c(head), std::span(data).subspan(split)), whole) << split;
  }
}

TEST(Crc32c, EqualsTheBitwiseReference) {
  std::mt19937_64 random(7);
  std::vector<std::byte> data(9000);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  for (int round = 0; round < 300; ++round) {
    const size_t begin = random() % 64;
    const size_t bytes = random() % (data.size() - begin);
    const auto part = std::span(data).subspan(begin, bytes);
    const uint32_t reference = Reference(part);
    ASSERT_EQ(Crc32c(part), reference) << begin << " " << bytes;
    ASSERT_EQ(~Crc32cByIsal(~0U, part), reference) << begin << " " << bytes;
    ASSERT_EQ(~Crc32cByTables(~0U, part), reference) << begin << " " << bytes;
  }
}

}  // namespace
}  // namespace weir
