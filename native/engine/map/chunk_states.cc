// The list of evictable chunks is linked through the states themselves, so that a lookup moves a
// chunk to its end in constant time.
#include "engine/map/chunk_states.h"

#include "engine/base/check.h"
#include "engine/base/types.h"

namespace weir {
namespace {

constexpr auto kChunksMax = static_cast<uint32_t>(kVolumeBlocksMax / kChunkBlocks);

}  // namespace

void ChunkStates::Remove(uint32_t chunk) {
  Unlist(chunk);
  states_.Remove(chunk);
}

std::vector<uint32_t> ChunkStates::Changed() const {
  std::vector<uint32_t> changed;
  for (uint32_t chunk = 0;; ++chunk) {
    chunk = states_.NextPresent(chunk, kChunksMax);
    if (chunk == kChunksMax) return changed;
    if (states_.Find(chunk)->changed) changed.push_back(chunk);
  }
}

void ChunkStates::List(uint32_t chunk) {
  ChunkState& state = states_.At(chunk);
  WEIR_CHECK(!state.listed && state.has_base && state.base_loaded && !state.changed);
  state.listed = true;
  state.older = newest_;
  state.newer = kNoChunk;
  (newest_ == kNoChunk ? oldest_ : states_.At(newest_).newer) = chunk;
  newest_ = chunk;
}

void ChunkStates::Unlist(uint32_t chunk) noexcept {
  ChunkState* state = states_.Find(chunk);
  if (state == nullptr || !state->listed) return;
  state->listed = false;
  (state->older == kNoChunk ? oldest_ : states_.Find(state->older)->newer) = state->newer;
  (state->newer == kNoChunk ? newest_ : states_.Find(state->newer)->older) = state->older;
}

void ChunkStates::Use(uint32_t chunk) noexcept {
  if (chunk == newest_) return;
  const ChunkState* state = states_.Find(chunk);
  if (state == nullptr || !state->listed) return;
  Unlist(chunk);
  List(chunk);
}

}  // namespace weir
