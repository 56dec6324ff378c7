// A sorted map from block ranges to places, for a part of a volume's address space or all of it.
//
// Used three times: for what lies in the journal, for what lies in segments, and for one upload
// batch. Thread: none of its own; the owner's. Memory: at most 24 bytes per extent in volumes with
// many extents (16 per entry plus slack).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/base/function_ref.h"
#include "engine/base/types.h"

namespace weir {

enum class PlaceKind : uint8_t { kZero = 0, kJournal = 1, kFrame = 2 };

// A frame inside a segment, and a block inside that frame. `segment` indexes a SegmentTable.
struct FramePlace {
  uint32_t segment = 0;
  uint32_t offset = 0;       // bytes from the start of the object to the frame header
  uint32_t length = 0;       // bytes in the object, frame header included
  uint8_t block = 0;         // first block meant, counted from the frame's start
  uint8_t frame_blocks = 0;  // blocks in the frame before compression
  bool operator==(const FramePlace&) const = default;
};

struct Extent {
  uint64_t start = 0;
  uint64_t count = 0;
  PlaceKind kind = PlaceKind::kZero;
  // kJournal: of the first block; the next one is kJournalBlockStride further on.
  // kZero: of the record that zeroed it, the same for every block (0 where nothing needs it). Kept
  // as it was assigned; zero neighbours merge only when it is equal.
  JournalAddr journal;
  FramePlace frame;  // kFrame: block is that of the first block

  [[nodiscard]] uint64_t end() const noexcept { return start + count; }
  // The same extent without its first `blocks` blocks / cut to `blocks` blocks.
  [[nodiscard]] Extent Tail(uint64_t blocks) const noexcept;
  [[nodiscard]] Extent Head(uint64_t blocks) const noexcept;
};

class ExtentMap {
 public:
  ExtentMap();
  ~ExtentMap();
  ExtentMap(ExtentMap&&) noexcept;
  ExtentMap& operator=(ExtentMap&&) noexcept;

  // Makes [extent.start, extent.end) point to the extent's place. `replaced` (may be empty) sees
  // every piece that lay there before. Neighbours that continue each other may be merged.
  using Visitor = FunctionRef<void(const Extent&)>;
  void Assign(const Extent& extent, Visitor replaced = {});
  // Removes whatever lies in the range; `removed` as above.
  void Erase(uint64_t start, uint64_t count, Visitor removed = {});
  // Visits the pieces inside the range in ascending order, cut to it; holes are skipped.
  void Visit(uint64_t start, uint64_t count, Visitor visit) const;
  // The piece that covers `block`, cut to [block, limit); false: a hole, and `hole_end` is where
  // the next piece begins (at most limit). No allocation: this is the read path.
  [[nodiscard]] bool Find(uint64_t block, uint64_t limit, Extent* found,
                          uint64_t* hole_end) const noexcept;

  [[nodiscard]] uint64_t extent_count() const noexcept;
  [[nodiscard]] uint64_t block_count() const noexcept;   // blocks covered
  [[nodiscard]] uint64_t memory_bytes() const noexcept;  // heap bytes held
  void Clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weir
