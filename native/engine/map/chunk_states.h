// What the stable map knows about each chunk besides its extents, and the order in which unchanged
// loaded chunks may be evicted.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/map/sparse_array.h"

namespace weir {

inline constexpr uint32_t kNoChunk = UINT32_MAX;

struct ChunkState {
  // How the chunk stands to the checkpoint under way.
  enum class Captured : uint8_t { kNo, kCurrent, kOutdated };

  bool has_base = false;     // the newest checkpoint holds the chunk
  bool base_loaded = false;  // the base, if any, is in memory: the map says everything
  bool changed = false;      // memory holds commits that the newest checkpoint does not
  bool captured_empty = false;
  Captured captured = Captured::kNo;
  bool listed = false;        // evictable: based, loaded, unchanged
  uint32_t older = kNoChunk;  // neighbours in the list
  uint32_t newer = kNoChunk;

  explicit operator bool() const noexcept { return has_base || changed; }
  [[nodiscard]] bool complete() const noexcept { return !has_base || base_loaded; }
};

static_assert(sizeof(ChunkState) == 16);

class ChunkStates {
 public:
  [[nodiscard]] const ChunkState* Find(uint32_t chunk) const noexcept {
    return states_.Find(chunk);
  }
  [[nodiscard]] ChunkState& At(uint32_t chunk) { return states_.At(chunk); }
  void Remove(uint32_t chunk);
  [[nodiscard]] std::vector<uint32_t> Changed() const;

  // The list of evictable chunks: List() puts one in as the newest, Use() makes a listed one
  // newest.
  void List(uint32_t chunk);
  void Unlist(uint32_t chunk) noexcept;
  void Use(uint32_t chunk) noexcept;
  [[nodiscard]] uint32_t oldest() const noexcept { return oldest_; }

  [[nodiscard]] uint64_t memory_bytes() const noexcept { return states_.memory_bytes(); }

 private:
  SparseArray<ChunkState> states_;
  uint32_t oldest_ = kNoChunk;
  uint32_t newest_ = kNoChunk;
};

}  // namespace weir
