// What the oracle writes into every block, and what it makes of a block that it reads back.
// Each 512-byte sector of a written block names the log's lineage, its block, its write and its own
// number under a checksum over the whole sector, so that a lost, stale, torn, misplaced, zeroed or
// foreign block can be told from the bytes alone. The checksum is the oracle's own: it shares none
// of the code that it judges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/types.h"

namespace weir::oracle {

inline constexpr size_t kSectorBytes = 512;
inline constexpr size_t kSectorsPerBlock = kBlockBytes / kSectorBytes;

enum class Content : uint8_t {
  kZeroes,
  kWrite,      // a whole, intact block of one write, at its own place
  kTorn,       // sectors of different origin
  kMisplaced,  // an intact block of this lineage that belongs elsewhere
  kForeign,    // nothing that this lineage ever wrote
  kUnreadable  // the target answered the read with an error
};

// What one block holds. `write_id` and `home_block` speak where a stamp could be read.
struct Sighting {
  Content content = Content::kZeroes;
  uint64_t write_id = 0;
  uint64_t home_block = 0;
};

struct StampKey {
  uint64_t lineage = 0;
  uint64_t block = 0;
  uint64_t write_id = 0;
};

// Fills one sector or one block. The content depends on nothing but the key, so that any version
// can be made again; every fourth write compresses well, the others do not.
void FillSector(const StampKey& key, uint32_t sector, std::span<std::byte> bytes);
void FillBlock(const StampKey& key, std::span<std::byte> block);

// Reads the stamps of one 4 KiB block that was found at `block`.
[[nodiscard]] Sighting ReadStamps(uint64_t lineage, uint64_t block,
                                  std::span<const std::byte> bytes);

}  // namespace weir::oracle
