// The NVMe half of the clean cache: slots of one frame each in a preallocated data file, and an
// index file with one record per slot, so that the cache survives a restart of the engine.
//
// Thread: any. No file I/O under the lock: a slot is pinned while it is read or written.
// Crash: data is written before its record, and a slot's old record is erased before new data.
// Nothing
//   is synced: after a power cut data and record may not fit, which every read notices, because
//   each block is checked against a checksum that covers the frame's identity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/base/types.h"
#include "engine/base/unique_fd.h"
#include "engine/cache/frame_index.h"
#include "engine/cache/slot_record.h"

namespace weir {

class FileTier {
 public:
  // Makes or opens the two files in `directory` (made if absent) with whole slots in `bytes`, at
  // least one. EBUSY: another process has them.
  static Result<std::unique_ptr<FileTier>> Open(const std::string& directory, uint64_t bytes);

  struct ReadResult {
    bool hit = false;
    bool hot = false;      // read again lately: worth RAM
    uint32_t corrupt = 0;  // blocks that did not verify; their frame was dropped
    uint32_t frame_blocks = 0;
  };
  // Reads the `wanted` blocks if it has them all; block b goes to out + (b - first) blocks.
  [[nodiscard]] ReadResult Read(const FrameKey& key, uint32_t wanted, uint32_t first,
                                std::byte* out);
  // Inserts `blocks` of a frame; block b comes from data + (b - first) blocks.
  void Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t blocks, uint32_t first,
              const std::byte* data);
  // The frame is read again and again in RAM: keep it here as well.
  void MakeHot(const FrameKey& key);
  // Blocks held of the frame, and its size; 0 when it is not there.
  [[nodiscard]] uint32_t Holds(const FrameKey& key, uint32_t* frame_blocks) const;

  [[nodiscard]] uint64_t held_bytes() const;   // of slots in use
  [[nodiscard]] uint64_t index_bytes() const;  // of RAM

 private:
  FileTier(UniqueFd data, UniqueFd records, uint32_t slots);
  void Load();
  [[nodiscard]] uint32_t LoadRecord(uint32_t slot,
                                    std::span<const std::byte, kSlotRecordBytes> bytes);
  [[nodiscard]] uint32_t Reserve(const FrameKey& key, uint32_t frame_blocks, uint32_t* blocks,
                                 bool* reused);
  [[nodiscard]] bool WriteBlocks(uint32_t slot, uint32_t blocks, uint32_t first,
                                 const std::byte* data) const;
  [[nodiscard]] bool ReadBlocks(uint32_t slot, uint32_t blocks, uint32_t first,
                                std::byte* out) const;
  void WriteRecord(uint32_t slot, const SlotRecordBytes& bytes) const;
  void Drop(uint32_t slot);

  UniqueFd data_;
  UniqueFd records_;
  mutable std::mutex mutex_;
  FrameIndex index_;
};

}  // namespace weir
