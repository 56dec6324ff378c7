// The extents of one chunk: a short index of leaves. Blocks count from the chunk's start.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/function_ref.h"
#include "engine/map/extent_leaf.h"

namespace weir {

class ExtentChunk {
 public:
  using Visitor = FunctionRef<void(const PackedExtent&)>;

  // Makes [start, end) hold `placed` (nullptr: nothing). `replaced` sees every piece that lay
  // there.
  void Replace(uint32_t start, uint32_t end, const PackedExtent* placed, Visitor replaced);
  void Visit(uint32_t start, uint32_t end, Visitor visit) const;
  // The extent that covers `block`; else nullptr, and `hole_end` is the next one's start (at most
  // kChunkBlocks).
  [[nodiscard]] const PackedExtent* Find(uint32_t block, uint32_t* hole_end) const noexcept;

  [[nodiscard]] bool empty() const noexcept { return leaves_.empty(); }
  [[nodiscard]] uint32_t extent_count() const noexcept { return extents_; }
  [[nodiscard]] uint64_t memory_bytes() const noexcept;  // of the object itself too

 private:
  // Names an extent; `at` may be one past the leaf's last.
  struct Position {
    size_t leaf = 0;
    uint32_t at = 0;
  };
  // What Replace() puts where extents [from, to) were.
  struct Change {
    Position from;
    Position to;
    PackedExtent added[3];
    uint32_t added_count = 0;

    void Add(const PackedExtent& extent) noexcept;
  };

  [[nodiscard]] size_t LeafOf(uint32_t block) const noexcept;
  [[nodiscard]] Position LowerBound(uint32_t block) const noexcept;
  [[nodiscard]] bool Skip(Position* position) const noexcept;
  [[nodiscard]] const PackedExtent* Before(Position position) const noexcept;
  [[nodiscard]] bool Exchange(Position position, const PackedExtent& placed, Visitor replaced);
  void JoinNeighbours(Change* change) const noexcept;
  void Apply(const Change& change);
  void Insert(Position position, std::span<const PackedExtent> added);
  void SpliceLeaf(size_t leaf, uint32_t at, uint32_t removed, std::span<const PackedExtent> added);
  void InsertLeaf(size_t at);
  void EraseLeaves(size_t from, size_t to);
  void MergeSmall(size_t leaf);

  std::vector<ExtentLeaf> leaves_;
  uint32_t extents_ = 0;
  uint32_t leaf_bytes_ = 0;  // heap bytes of the leaves' arrays
};

}  // namespace weir
