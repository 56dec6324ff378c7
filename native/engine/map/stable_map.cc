// The three kinds of chunk (absent, unloaded, loaded) over one extent map.
//
// Invariants: a chunk that is complete holds no zero entries; a chunk without base and unchanged
// holds nothing at all; a segment's block count in the table is what the extent map holds of it.
#include "engine/map/stable_map.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/map/chunk_image.h"
#include "engine/map/chunk_states.h"
#include "engine/map/heap_bytes.h"

namespace weir {
namespace {

uint32_t ChunkOf(uint64_t block) noexcept { return static_cast<uint32_t>(block / kChunkBlocks); }
uint64_t StartOf(uint32_t chunk) noexcept { return uint64_t{chunk} * kChunkBlocks; }

}  // namespace

struct StableMap::State {
  ExtentMap map;
  SegmentTable segments;
  ChunkStates chunks;

  // Takes the blocks of a replaced or removed piece off its segment's count.
  void Forget(const Extent& piece) {
    if (piece.kind == PlaceKind::kFrame) segments.Release(piece.frame.segment, piece.count);
  }
  [[nodiscard]] bool Complete(uint32_t chunk) const noexcept {
    const ChunkState* state = chunks.Find(chunk);
    return state == nullptr || state->complete();
  }
  void MarkChanged(uint32_t chunk);
  void ApplyData(uint32_t segment, const SegmentFrame& frame, const SegmentExtent& extent);
  void ApplyZeroes(uint64_t start, uint64_t count);
  void ApplyZeroesToChunk(uint32_t chunk, uint64_t start, uint64_t count);
  void EvictChunk(uint32_t chunk);
};

void StableMap::State::MarkChanged(uint32_t chunk) {
  ChunkState& state = chunks.At(chunk);
  if (!state) state.base_loaded = true;
  state.changed = true;
  if (state.captured == ChunkState::Captured::kCurrent) {
    state.captured = ChunkState::Captured::kOutdated;
  }
  chunks.Unlist(chunk);
}

void StableMap::State::ApplyData(uint32_t segment, const SegmentFrame& frame,
                                 const SegmentExtent& extent) {
  map.Assign({.start = extent.start_block,
              .count = extent.block_count,
              .kind = PlaceKind::kFrame,
              .journal = {},
              .frame = {.segment = segment,
                        .offset = frame.offset,
                        .length = frame.length,
                        .block = extent.block_in_frame,
                        .frame_blocks = static_cast<uint8_t>(frame.blocks)}},
             [this](const Extent& piece) { Forget(piece); });
  segments.Retain(segment, extent.block_count);
  const uint32_t last = ChunkOf(extent.start_block + extent.block_count - 1);
  for (uint32_t chunk = ChunkOf(extent.start_block); chunk <= last; ++chunk) MarkChanged(chunk);
}

void StableMap::State::ApplyZeroes(uint64_t start, uint64_t count) {
  const uint64_t end = start + count;
  while (start < end) {
    const uint32_t chunk = ChunkOf(start);
    const uint64_t piece = std::min(end, StartOf(chunk) + kChunkBlocks) - start;
    ApplyZeroesToChunk(chunk, start, piece);
    start += piece;
  }
}

void StableMap::State::ApplyZeroesToChunk(uint32_t chunk, uint64_t start, uint64_t count) {
  const uint64_t before = map.block_count();
  const auto forget = [this](const Extent& piece) { Forget(piece); };
  if (!Complete(chunk) && count < kChunkBlocks) {
    map.Assign(
        {.start = start, .count = count, .kind = PlaceKind::kZero, .journal = {}, .frame = {}},
        forget);
    MarkChanged(chunk);
    return;
  }
  const bool hides_base = !Complete(chunk);
  map.Erase(start, count, forget);
  // Zeroes over nothing change nothing: discarding an empty volume leaves no trace.
  if (map.block_count() == before && !hides_base) return;
  MarkChanged(chunk);
  // Nothing of the base shines through any more, so it need not be loaded.
  if (hides_base) chunks.At(chunk).base_loaded = true;
}

void StableMap::State::EvictChunk(uint32_t chunk) {
  chunks.Unlist(chunk);
  chunks.At(chunk).base_loaded = false;
  map.Erase(StartOf(chunk), kChunkBlocks, [this](const Extent& piece) { Forget(piece); });
}

StableMap::StableMap(std::span<const uint32_t> base_chunks) : state_(std::make_unique<State>()) {
  for (const uint32_t chunk : base_chunks) {
    WEIR_CHECK(chunk < kVolumeBlocksMax / kChunkBlocks);
    state_->chunks.At(chunk).has_base = true;
  }
}

StableMap::~StableMap() = default;

void StableMap::Apply(const SegmentId& id, const SegmentIndex& index) {
  const uint32_t segment = state_->segments.Intern(id);
  // One block too many meanwhile, so that a segment without data goes again at the end.
  state_->segments.Retain(segment, 1);
  for (const SegmentExtent& extent : index.extents) {
    if (extent.zero) {
      state_->ApplyZeroes(extent.start_block, extent.block_count);
    } else {
      WEIR_CHECK(extent.frame < index.frames.size());
      state_->ApplyData(segment, index.frames[extent.frame], extent);
    }
  }
  state_->segments.Release(segment, 1);
}

StableMap::Lookup StableMap::Find(uint64_t block, uint64_t limit, Extent* found,
                                  uint32_t* chunk) noexcept {
  *chunk = ChunkOf(block);
  limit = std::min(limit, StartOf(*chunk) + kChunkBlocks);
  state_->chunks.Use(*chunk);
  uint64_t hole_end = 0;
  if (state_->map.Find(block, limit, found, &hole_end)) {
    return found->kind == PlaceKind::kFrame ? Lookup::kFrame : Lookup::kZero;
  }
  *found = Extent{};
  found->start = block;
  found->count = hole_end - block;
  return state_->Complete(*chunk) ? Lookup::kZero : Lookup::kUnknown;
}

Result<void> StableMap::LoadChunk(uint32_t chunk, std::span<const std::byte> payload) {
  if (loaded(chunk)) return {};
  const Result<ChunkImage> image = DecodeChunk(chunk, payload);
  if (!image.ok()) return image.error();
  ExtentMap& map = state_->map;
  const auto forget = [this](const Extent& piece) { state_->Forget(piece); };
  std::vector<Extent> commits;
  map.Visit(StartOf(chunk), kChunkBlocks,
            [&commits](const Extent& piece) { commits.push_back(piece); });
  // The commits' blocks stay counted while they are out of the map.
  map.Erase(StartOf(chunk), kChunkBlocks);
  PlaceChunkImage(image.value(), &map, &state_->segments);
  for (const Extent& commit : commits) {
    if (commit.kind == PlaceKind::kFrame) {
      map.Assign(commit, forget);
    } else {
      map.Erase(commit.start, commit.count, forget);
    }
  }
  ChunkState& state = state_->chunks.At(chunk);
  state.base_loaded = true;
  if (!state.changed) state_->chunks.List(chunk);
  return {};
}

std::vector<uint32_t> StableMap::changed_chunks() const { return state_->chunks.Changed(); }
bool StableMap::loaded(uint32_t chunk) const noexcept { return state_->Complete(chunk); }

ChunkImage StableMap::Capture(uint32_t chunk) {
  WEIR_CHECK(loaded(chunk));
  ChunkImage image = MakeChunkImage(chunk, state_->map, state_->segments);
  const ChunkState* known = state_->chunks.Find(chunk);
  WEIR_CHECK(known != nullptr && known->changed);
  ChunkState& state = state_->chunks.At(chunk);
  state.captured = ChunkState::Captured::kCurrent;
  state.captured_empty = image.extents.empty();
  return image;
}

void StableMap::CheckpointDone(std::span<const uint32_t> chunks) {
  for (const uint32_t chunk : chunks) {
    ChunkState& state = state_->chunks.At(chunk);
    WEIR_CHECK(state.captured != ChunkState::Captured::kNo);
    const bool current = state.captured == ChunkState::Captured::kCurrent;
    state.captured = ChunkState::Captured::kNo;
    state.has_base = !state.captured_empty;
    if (!current) continue;
    state.changed = false;
    if (state.has_base) {
      state_->chunks.List(chunk);
    } else {
      state_->chunks.Remove(chunk);
    }
  }
}

void StableMap::Evict(uint64_t limit_bytes) {
  while (memory_bytes() > limit_bytes && state_->chunks.oldest() != kNoChunk) {
    state_->EvictChunk(state_->chunks.oldest());
  }
}

const SegmentTable& StableMap::segments() const noexcept { return state_->segments; }
uint64_t StableMap::extent_count() const noexcept { return state_->map.extent_count(); }

uint64_t StableMap::memory_bytes() const noexcept {
  return HeapBytes(sizeof(State)) + state_->map.memory_bytes() + state_->segments.memory_bytes() +
         state_->chunks.memory_bytes();
}

}  // namespace weir
