// Interns segment ids: a map entry holds 4 bytes for its segment. A segment is kept as long as
// blocks of the map refer to it; its number is reused afterwards, so the table follows the live
// segments and not the volume's history.
//
// Thread: the map's.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/base/types.h"

namespace weir {

class SegmentTable {
 public:
  SegmentTable();
  ~SegmentTable();
  // The number of `id`, new or known. A new one has no blocks: Retain() it before the next
  // Intern().
  [[nodiscard]] uint32_t Intern(const SegmentId& id);
  // Valid while the map holds an extent with this number: copy the id before the map changes.
  [[nodiscard]] const SegmentId& at(uint32_t ref) const noexcept;
  void Retain(uint32_t ref, uint64_t blocks);
  // Forgets the segment when no block is left.
  void Release(uint32_t ref, uint64_t blocks);

  // Blocks of the map that lie in the segment: its live share, as far as it is loaded.
  [[nodiscard]] uint64_t blocks(uint32_t ref) const noexcept;
  [[nodiscard]] uint32_t size() const noexcept;
  [[nodiscard]] uint64_t memory_bytes() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weir
