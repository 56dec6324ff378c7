// The node's clean cache: decoded blocks of immutable frames, in RAM and in one NVMe file, shared
// by all volumes and clones. Entries never become wrong, so losing any of them is only a miss.
//
// Thread: any; internally locked for a few instructions, never across file I/O.
// Limits are exact and synchronous: an insert evicts first and then inserts.
// Eviction: scan-resistant (S3-FIFO: one pass over cold data does not push out what is used again).
// Crash: the file's index is written beside the data and every block is verified on read; an index
//   entry that does not fit its data is a miss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/types.h"

namespace weir {

struct FrameKey {
  SegmentId segment;
  uint32_t offset = 0;
  auto operator<=>(const FrameKey&) const = default;
};

struct CleanCacheConfig {
  std::string directory;  // empty: no NVMe tier; made if absent
  // Index of both tiers included: the file's index is taken first (about 230 bytes per slot,
  // whatever the limit), blocks get the rest. Less than a frame's worth: no blocks in RAM.
  uint64_t ram_bytes = 64U << 20;
  uint64_t file_bytes = 0;  // rounded down to whole slots of kFrameBytesMax; 0: no NVMe tier
};

class CleanCache {
 public:
  static Result<std::unique_ptr<CleanCache>> Open(const CleanCacheConfig& config);
  ~CleanCache();
  // Adds the NVMe tier to a cache that was opened without: its former owner has let go of it. Its
  // index comes on top of `ram_bytes`. One call at a time; readers and writers may go on.
  Result<void> OpenFile(const std::string& directory, uint64_t file_bytes);

  // Copies blocks [first, first + count) of the frame to `out` if all are cached and verify;
  // otherwise `out` holds anything. Blocks the calling thread for one file read when RAM does not
  // have them.
  [[nodiscard]] bool Read(const FrameKey& key, uint32_t first, uint32_t count, std::byte* out);
  // As Read(), from RAM alone: no file I/O. A miss here is not counted, as Read() follows.
  [[nodiscard]] bool ReadRam(const FrameKey& key, uint32_t first, uint32_t count, std::byte* out);
  // Inserts blocks of a frame that has `frame_blocks` in all; blocks not given stay absent. With an
  // NVMe tier this writes to the file (page cache).
  void Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t first, uint32_t count,
              const std::byte* data);

  // All blocks of the frame are cached (they may still fail to verify when read).
  [[nodiscard]] bool Contains(const FrameKey& key) const;

  struct Stats {
    uint64_t ram_hits = 0, file_hits = 0, misses = 0;
    uint64_t ram_bytes = 0, file_bytes = 0;  // held now, index included in ram_bytes
    uint64_t corrupt = 0;                    // blocks that did not verify
  };
  [[nodiscard]] Stats stats() const;

 private:
  struct State;
  explicit CleanCache(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weir
