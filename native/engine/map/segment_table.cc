// Rows in a vector with a free list, found through an open-addressed table of row numbers: 48 to 60
// bytes per segment in all.
#include "engine/map/segment_table.h"

#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/map/heap_bytes.h"

namespace weir {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kSlotsMin = 16;

// Ids are made by Weir itself, so spreading them is enough; nobody picks them to collide.
size_t Hash(const SegmentId& id) noexcept {
  uint64_t words[2];
  std::memcpy(words, id.volume.bytes.data(), sizeof(words));
  uint64_t hash = words[0] ^ std::rotl(words[1], 32);
  for (const uint64_t word : {id.epoch, id.seq}) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
  }
  return static_cast<size_t>(hash);
}

}  // namespace

struct SegmentTable::State {
  struct Row {
    SegmentId id;
    uint64_t blocks = 0;
  };

  std::vector<Row> rows;
  std::vector<uint32_t> free_rows;
  std::vector<uint32_t> slots = std::vector<uint32_t>(kSlotsMin, kNone);
  uint32_t used = 0;

  [[nodiscard]] size_t Home(uint32_t ref) const noexcept {
    return Hash(rows[ref].id) & (slots.size() - 1);
  }
  [[nodiscard]] size_t Next(size_t slot) const noexcept { return (slot + 1) & (slots.size() - 1); }

  // The slot that holds `id`, or the empty one where it belongs.
  [[nodiscard]] size_t SlotOf(const SegmentId& id) const noexcept {
    size_t slot = Hash(id) & (slots.size() - 1);
    while (slots[slot] != kNone && rows[slots[slot]].id != id) slot = Next(slot);
    return slot;
  }

  void Rehash(size_t slot_count) {
    const std::vector<uint32_t> old =
        std::exchange(slots, std::vector<uint32_t>(slot_count, kNone));
    for (const uint32_t ref : old) {
      if (ref != kNone) slots[SlotOf(rows[ref].id)] = ref;
    }
  }

  // Closes the gap, so that no search ends before its goal.
  void EraseSlot(size_t gap) {
    for (size_t slot = Next(gap); slots[slot] != kNone; slot = Next(slot)) {
      const size_t mask = slots.size() - 1;
      const size_t distance = (slot - Home(slots[slot])) & mask;
      if (distance < ((slot - gap) & mask)) continue;
      slots[gap] = slots[slot];
      gap = slot;
    }
    slots[gap] = kNone;
  }
};

SegmentTable::SegmentTable() : state_(std::make_unique<State>()) {}
SegmentTable::~SegmentTable() = default;

uint32_t SegmentTable::Intern(const SegmentId& id) {
  State& state = *state_;
  const size_t slot = state.SlotOf(id);
  if (state.slots[slot] != kNone) return state.slots[slot];
  uint32_t ref = 0;
  if (state.free_rows.empty()) {
    ref = static_cast<uint32_t>(state.rows.size());
    WEIR_CHECK(ref != kNone);
    if (state.rows.size() == state.rows.capacity()) {
      state.rows.reserve(state.rows.size() + state.rows.size() / 4 + 8);
    }
    state.rows.push_back({id, 0});
  } else {
    ref = state.free_rows.back();
    state.free_rows.pop_back();
    state.rows[ref] = {id, 0};
  }
  state.slots[slot] = ref;
  if (++state.used * 2 > state.slots.size()) state.Rehash(state.slots.size() * 2);
  return ref;
}

const SegmentId& SegmentTable::at(uint32_t ref) const noexcept {
  WEIR_CHECK(ref < state_->rows.size());
  return state_->rows[ref].id;
}

void SegmentTable::Retain(uint32_t ref, uint64_t blocks) { state_->rows[ref].blocks += blocks; }

void SegmentTable::Release(uint32_t ref, uint64_t blocks) {
  State& state = *state_;
  WEIR_CHECK(ref < state.rows.size() && state.rows[ref].blocks >= blocks);
  state.rows[ref].blocks -= blocks;
  if (state.rows[ref].blocks > 0) return;
  state.EraseSlot(state.SlotOf(state.rows[ref].id));
  state.free_rows.push_back(ref);
  --state.used;
  if (state.slots.size() > kSlotsMin && state.used * 8 < state.slots.size()) {
    state.Rehash(state.slots.size() / 2);
  }
}

uint64_t SegmentTable::blocks(uint32_t ref) const noexcept { return state_->rows[ref].blocks; }
uint32_t SegmentTable::size() const noexcept { return state_->used; }

uint64_t SegmentTable::memory_bytes() const noexcept {
  return HeapBytes(sizeof(State)) + HeapBytes(state_->rows.capacity() * sizeof(State::Row)) +
         HeapBytes(state_->free_rows.capacity() * sizeof(uint32_t)) +
         HeapBytes(state_->slots.capacity() * sizeof(uint32_t));
}

}  // namespace weir
