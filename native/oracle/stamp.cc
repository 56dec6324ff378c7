// Making and reading the stamps of sectors.
#include "oracle/stamp.h"

#include <array>
#include <cstring>

#include "engine/base/check.h"
#include "oracle/random.h"

namespace weir::oracle {
namespace {

constexpr uint64_t kMagic = 0x5245544e45534549ULL;
constexpr size_t kSectorWords = kSectorBytes / sizeof(uint64_t);
constexpr uint64_t kCompressibleOneIn = 4;

// The words of a sector. The fill begins behind the stamp.
enum Word : size_t { kMagicAt, kLineageAt, kBlockAt, kWriteIdAt, kSectorAt, kCheckAt, kFillAt };

using Words = std::array<uint64_t, kSectorWords>;

uint64_t CheckOf(const Words& words) noexcept {
  uint64_t sum = kMagic;
  for (size_t i = 0; i < kSectorWords; ++i) {
    if (i == kCheckAt) continue;
    sum = (sum ^ words[i]) * 0x9fb21c651e98df25ULL;
    sum ^= sum >> 32;
  }
  return sum;
}

enum class SectorKind { kZeroes, kStamp, kGarbage };

struct SectorView {
  SectorKind kind = SectorKind::kGarbage;
  Words words{};
};

SectorView ViewSector(uint64_t lineage, uint64_t sector, std::span<const std::byte> bytes) {
  SectorView view;
  std::memcpy(view.words.data(), bytes.data(), kSectorBytes);
  if (view.words[kMagicAt] == 0) {
    uint64_t any = 0;
    for (const uint64_t word : view.words) any |= word;
    if (any == 0) view.kind = SectorKind::kZeroes;
    return view;
  }
  const bool ours = view.words[kMagicAt] == kMagic && view.words[kLineageAt] == lineage &&
                    view.words[kSectorAt] == sector;
  if (ours && view.words[kCheckAt] == CheckOf(view.words)) view.kind = SectorKind::kStamp;
  return view;
}

}  // namespace

void FillSector(const StampKey& key, uint32_t sector, std::span<std::byte> bytes) {
  WEIR_CHECK(bytes.size() == kSectorBytes);
  Words words;
  words[kMagicAt] = kMagic;
  words[kLineageAt] = key.lineage;
  words[kBlockAt] = key.block;
  words[kWriteIdAt] = key.write_id;
  words[kSectorAt] = sector;
  uint64_t fill = Mix(key.lineage ^ Mix(key.block ^ Mix(key.write_id * kSectorsPerBlock + sector)));
  const bool compressible = key.write_id % kCompressibleOneIn == 0;
  for (size_t i = kFillAt; i < kSectorWords; ++i) {
    words[i] = fill;
    if (compressible) continue;
    fill ^= fill << 13;
    fill ^= fill >> 7;
    fill ^= fill << 17;
  }
  words[kCheckAt] = CheckOf(words);
  std::memcpy(bytes.data(), words.data(), kSectorBytes);
}

void FillBlock(const StampKey& key, std::span<std::byte> block) {
  WEIR_CHECK(block.size() == kBlockBytes);
  for (uint32_t sector = 0; sector < kSectorsPerBlock; ++sector) {
    FillSector(key, sector, block.subspan(sector * kSectorBytes, kSectorBytes));
  }
}

Sighting ReadStamps(uint64_t lineage, uint64_t block, std::span<const std::byte> bytes) {
  WEIR_CHECK(bytes.size() == kBlockBytes);
  size_t zeroes = 0;
  size_t garbage = 0;
  bool uniform = true;
  Sighting first{.content = Content::kTorn};
  for (size_t sector = 0; sector < kSectorsPerBlock; ++sector) {
    const SectorView view =
        ViewSector(lineage, sector, bytes.subspan(sector * kSectorBytes, kSectorBytes));
    if (view.kind == SectorKind::kZeroes) ++zeroes;
    if (view.kind == SectorKind::kGarbage) ++garbage;
    if (view.kind != SectorKind::kStamp) continue;
    if (first.write_id == 0) {
      first.write_id = view.words[kWriteIdAt];
      first.home_block = view.words[kBlockAt];
    }
    uniform = uniform && view.words[kWriteIdAt] == first.write_id &&
              view.words[kBlockAt] == first.home_block;
  }
  if (zeroes == kSectorsPerBlock) return Sighting{.content = Content::kZeroes};
  if (garbage == kSectorsPerBlock) return Sighting{.content = Content::kForeign};
  if (zeroes + garbage > 0 || !uniform) return first;
  first.content = first.home_block == block ? Content::kWrite : Content::kMisplaced;
  return first;
}

}  // namespace weir::oracle
