// The volume's map as of the committed position: which frame holds each block. Base chunks come
// from a checkpoint and are loaded on demand; commits are applied on top, to loaded and unloaded
// chunks alike, so that a write never waits for a load.
//
// A chunk is absent (no base: all of it is in memory), unloaded (the base is in the checkpoint,
// memory holds what commits wrote over it, zeroes included) or loaded (base and commits are in
// memory).
//
// Thread: the volume's loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"
#include "engine/map/extent_map.h"
#include "engine/map/segment_table.h"
#include "engine/segment/chunk_codec.h"
#include "engine/segment/segment.h"

namespace weir {

class StableMap {
 public:
  // `base_chunks`: indexes of the chunks that the checkpoint holds, ascending.
  explicit StableMap(std::span<const uint32_t> base_chunks);
  ~StableMap();

  // Applies a committed segment: data extents point to its frames, zero extents hide what was
  // there.
  void Apply(const SegmentId& id, const SegmentIndex& index);

  // Looks `block` up, cut to [block, limit). kUnknown: its chunk's base is not loaded and no commit
  // covers it; ask for LoadChunk(*chunk). For kZero and kUnknown `found` is the range that it holds
  // for, which ends at the chunk's border. found->frame.segment is an index into segments(): copy
  // the id before the map changes.
  enum class Lookup { kFrame, kZero, kUnknown };
  [[nodiscard]] Lookup Find(uint64_t block, uint64_t limit, Extent* found,
                            uint32_t* chunk) noexcept;
  // Puts a decoded checkpoint chunk under what commits already wrote. EBADMSG when the bytes do not
  // verify; loading a chunk that is loaded is a no-op. The payload must be that of the newest
  // checkpoint: a load that began before a CheckpointDone() that lists the chunk is thrown away.
  Result<void> LoadChunk(uint32_t chunk, std::span<const std::byte> payload);

  // Checkpointing. changed_chunks(): changed since the last CheckpointDone; those of them that are
  // not loaded must be loaded first. Capture copies the entries of a loaded chunk; the copy is
  // encoded elsewhere with EncodeChunk (segment/chunk_codec.h). One checkpoint is under way at a
  // time; if it fails, the next one captures the same chunks again, as they are still changed.
  [[nodiscard]] std::vector<uint32_t> changed_chunks() const;
  [[nodiscard]] bool loaded(uint32_t chunk) const noexcept;
  [[nodiscard]] ChunkImage Capture(uint32_t chunk);
  // The chunks captured are in the bucket now: they count as base chunks, and those not changed
  // since their capture may be evicted. Chunks whose image had no extent leave the base.
  void CheckpointDone(std::span<const uint32_t> chunks);

  // Frees unchanged loaded chunks, least recently looked up first, until memory_bytes() <= limit or
  // none is left. They are unloaded again: their base is the newest checkpoint.
  void Evict(uint64_t limit_bytes);

  [[nodiscard]] const SegmentTable& segments() const noexcept;
  [[nodiscard]] uint64_t extent_count() const noexcept;
  [[nodiscard]] uint64_t memory_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weir
