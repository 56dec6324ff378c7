// Splits ranges at chunk borders and hands the parts to the chunks.
#include "engine/map/extent_map.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/map/extent_chunk.h"
#include "engine/map/sparse_array.h"

namespace weir {
namespace {

// A range of blocks inside one chunk.
struct Part {
  uint32_t chunk = 0;
  uint64_t chunk_start = 0;
  uint32_t start = 0;  // from the chunk's start
  uint32_t end = 0;
};

uint32_t ChunkOf(uint64_t block) noexcept { return static_cast<uint32_t>(block / kChunkBlocks); }

// One past the last chunk that [start, end) touches.
uint32_t ChunkEnd(uint64_t end) noexcept { return ChunkOf(end + kChunkBlocks - 1); }

Part PartOf(uint32_t chunk, uint64_t start, uint64_t end) noexcept {
  Part part;
  part.chunk = chunk;
  part.chunk_start = uint64_t{chunk} * kChunkBlocks;
  part.start = static_cast<uint32_t>(std::max(start, part.chunk_start) - part.chunk_start);
  part.end = static_cast<uint32_t>(std::min<uint64_t>(end - part.chunk_start, kChunkBlocks));
  return part;
}

uint64_t RangeEnd(uint64_t start, uint64_t count) noexcept {
  return count > kVolumeBlocksMax - std::min(start, kVolumeBlocksMax) ? kVolumeBlocksMax
                                                                      : start + count;
}

}  // namespace

struct ExtentMap::State {
  SparseArray<std::unique_ptr<ExtentChunk>> chunks;
  uint64_t extents = 0;
  uint64_t blocks = 0;
  uint64_t chunk_bytes = 0;

  void Replace(const Part& part, ExtentChunk* chunk, const PackedExtent* placed, Visitor replaced);
};

// The counts follow from the chunk's own, before and after.
void ExtentMap::State::Replace(const Part& part, ExtentChunk* chunk, const PackedExtent* placed,
                               Visitor replaced) {
  const uint64_t bytes_before = chunk->memory_bytes();
  const uint32_t extents_before = chunk->extent_count();
  uint64_t replaced_blocks = 0;
  chunk->Replace(part.start, part.end, placed, [&](const PackedExtent& piece) {
    replaced_blocks += piece.count();
    if (replaced) replaced(piece.Unpack(part.chunk_start));
  });
  blocks -= replaced_blocks;
  if (placed != nullptr) blocks += placed->count();
  extents += chunk->extent_count();
  extents -= extents_before;
  chunk_bytes += chunk->memory_bytes();
  chunk_bytes -= bytes_before;
}

ExtentMap::ExtentMap() : state_(std::make_unique<State>()) {}
ExtentMap::~ExtentMap() = default;
ExtentMap::ExtentMap(ExtentMap&&) noexcept = default;
ExtentMap& ExtentMap::operator=(ExtentMap&&) noexcept = default;

void ExtentMap::Assign(const Extent& extent, Visitor replaced) {
  WEIR_CHECK(extent.count > 0 && extent.start < kVolumeBlocksMax &&
             extent.count <= kVolumeBlocksMax - extent.start);
  for (uint32_t index = ChunkOf(extent.start); index < ChunkEnd(extent.end()); ++index) {
    const Part part = PartOf(index, extent.start, extent.end());
    std::unique_ptr<ExtentChunk>& chunk = state_->chunks.At(index);
    if (chunk == nullptr) {
      chunk = std::make_unique<ExtentChunk>();
      state_->chunk_bytes += chunk->memory_bytes();
    }
    const uint64_t skipped = part.chunk_start + part.start - extent.start;
    const Extent piece = (skipped == 0 ? extent : extent.Tail(skipped)).Head(part.end - part.start);
    const PackedExtent packed = PackedExtent::Pack(piece, part.chunk_start);
    state_->Replace(part, chunk.get(), &packed, replaced);
  }
}

void ExtentMap::Erase(uint64_t start, uint64_t count, Visitor removed) {
  const uint64_t end = RangeEnd(start, count);
  if (start >= end) return;
  const uint32_t chunk_end = ChunkEnd(end);
  for (uint32_t index = ChunkOf(start);; ++index) {
    index = state_->chunks.NextPresent(index, chunk_end);
    if (index >= chunk_end) return;
    ExtentChunk* chunk = state_->chunks.Find(index)->get();
    state_->Replace(PartOf(index, start, end), chunk, nullptr, removed);
    if (!chunk->empty()) continue;
    state_->chunk_bytes -= chunk->memory_bytes();
    state_->chunks.Remove(index);
  }
}

void ExtentMap::Visit(uint64_t start, uint64_t count, Visitor visit) const {
  const uint64_t end = RangeEnd(start, count);
  if (start >= end) return;
  const uint32_t chunk_end = ChunkEnd(end);
  for (uint32_t index = ChunkOf(start);; ++index) {
    index = state_->chunks.NextPresent(index, chunk_end);
    if (index >= chunk_end) return;
    const Part part = PartOf(index, start, end);
    const ExtentChunk& chunk = **state_->chunks.Find(index);
    chunk.Visit(part.start, part.end, [&visit, &part](const PackedExtent& piece) {
      visit(piece.Unpack(part.chunk_start));
    });
  }
}

bool ExtentMap::Find(uint64_t block, uint64_t limit, Extent* found,
                     uint64_t* hole_end) const noexcept {
  limit = std::min(limit, kVolumeBlocksMax);
  *hole_end = limit;
  if (block >= limit) return false;
  const uint32_t first = ChunkOf(block);
  const uint32_t chunk_end = ChunkEnd(limit);
  for (uint32_t index = first;; ++index) {
    index = state_->chunks.NextPresent(index, chunk_end);
    if (index >= chunk_end) return false;
    const uint64_t chunk_start = uint64_t{index} * kChunkBlocks;
    const auto from = static_cast<uint32_t>(std::max(block, chunk_start) - chunk_start);
    uint32_t next = 0;
    const PackedExtent* extent = (*state_->chunks.Find(index))->Find(from, &next);
    if (extent == nullptr && next == kChunkBlocks) continue;
    if (extent == nullptr || index != first) {
      *hole_end = std::min(limit, chunk_start + (extent == nullptr ? next : from));
      return false;
    }
    const uint64_t end = std::min<uint64_t>(limit - chunk_start, extent->end());
    *found = extent->Cut(from, static_cast<uint32_t>(end)).Unpack(chunk_start);
    return true;
  }
}

uint64_t ExtentMap::extent_count() const noexcept { return state_->extents; }
uint64_t ExtentMap::block_count() const noexcept { return state_->blocks; }

uint64_t ExtentMap::memory_bytes() const noexcept {
  return HeapBytes(sizeof(State)) + state_->chunks.memory_bytes() + state_->chunk_bytes;
}

void ExtentMap::Clear() { state_ = std::make_unique<State>(); }

}  // namespace weir
