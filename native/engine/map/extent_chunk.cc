// Replacement inside a chunk: collect what the range touches, keep the two ends that stick out,
// join with neighbours, and splice the result in.
#include "engine/map/extent_chunk.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/map/heap_bytes.h"

namespace weir {
namespace {

// A leaf below kSmall is merged with a neighbour when both fit kMerged, which leaves room to grow.
constexpr uint32_t kSmall = ExtentLeaf::kMax / 4;
constexpr uint32_t kMerged = ExtentLeaf::kMax / 4 * 3;

}  // namespace

void ExtentChunk::Change::Add(const PackedExtent& extent) noexcept {
  if (added_count > 0 && added[added_count - 1].ContinuedBy(extent)) {
    added[added_count - 1] = added[added_count - 1].JoinedWith(extent);
    return;
  }
  added[added_count++] = extent;
}

void ExtentChunk::Replace(uint32_t start, uint32_t end, const PackedExtent* placed,
                          Visitor replaced) {
  Change change;
  change.from = change.to = LowerBound(start);
  if (placed != nullptr && Exchange(change.from, *placed, replaced)) return;
  PackedExtent tail;
  bool has_tail = false;
  bool touched = false;
  for (Position position = change.from; Skip(&position);) {
    const PackedExtent& extent = leaves_[position.leaf][position.at];
    if (extent.start() >= end) break;
    if (!std::exchange(touched, true)) change.from = position;
    if (extent.start() < start) change.Add(extent.Cut(extent.start(), start));
    if (extent.end() > end) {
      tail = extent.Cut(end, extent.end());
      has_tail = true;
    }
    replaced(extent.Cut(std::max(start, extent.start()), std::min(end, extent.end())));
    ++position.at;
    change.to = position;
  }
  if (placed != nullptr) change.Add(*placed);
  if (has_tail) change.Add(tail);
  if (!touched && placed == nullptr) return;
  JoinNeighbours(&change);
  Apply(change);
}

// What most writes to a volume in use amount to: one extent takes the place of another of just its
// range. False, and nothing is changed, when it is not so or neighbours would join.
bool ExtentChunk::Exchange(Position position, const PackedExtent& placed, Visitor replaced) {
  if (!Skip(&position)) return false;
  const PackedExtent old = leaves_[position.leaf][position.at];
  if (old.start() != placed.start() || old.end() != placed.end()) return false;
  const PackedExtent* before = Before(position);
  if (before != nullptr && before->ContinuedBy(placed)) return false;
  Position behind{position.leaf, position.at + 1};
  if (Skip(&behind) && placed.ContinuedBy(leaves_[behind.leaf][behind.at])) return false;
  leaves_[position.leaf].Set(position.at, placed);
  replaced(old);
  return true;
}

void ExtentChunk::Visit(uint32_t start, uint32_t end, Visitor visit) const {
  for (Position position = LowerBound(start); Skip(&position); ++position.at) {
    const PackedExtent& extent = leaves_[position.leaf][position.at];
    if (extent.start() >= end) break;
    visit(extent.Cut(std::max(start, extent.start()), std::min(end, extent.end())));
  }
}

const PackedExtent* ExtentChunk::Find(uint32_t block, uint32_t* hole_end) const noexcept {
  Position position = LowerBound(block);
  *hole_end = kChunkBlocks;
  if (!Skip(&position)) return nullptr;
  const PackedExtent& extent = leaves_[position.leaf][position.at];
  if (extent.start() <= block) return &extent;
  *hole_end = extent.start();
  return nullptr;
}

uint64_t ExtentChunk::memory_bytes() const noexcept {
  return HeapBytes(sizeof(*this)) + HeapBytes(leaves_.capacity() * sizeof(ExtentLeaf)) +
         leaf_bytes_;
}

// The last leaf that begins at or before `block`, or the first one.
size_t ExtentChunk::LeafOf(uint32_t block) const noexcept {
  const auto behind =
      std::partition_point(leaves_.begin(), leaves_.end(),
                           [block](const ExtentLeaf& leaf) { return leaf.first() <= block; });
  const auto index = static_cast<size_t>(behind - leaves_.begin());
  return index == 0 ? 0 : index - 1;
}

ExtentChunk::Position ExtentChunk::LowerBound(uint32_t block) const noexcept {
  if (leaves_.empty()) return {};
  const size_t leaf = LeafOf(block);
  const uint32_t limit = leaf + 1 < leaves_.size() ? leaves_[leaf + 1].first() : kChunkBlocks;
  return {leaf, leaves_[leaf].LowerBound(block, limit)};
}

// Moves a position that is one past its leaf's last to the next leaf; false at the very end.
bool ExtentChunk::Skip(Position* position) const noexcept {
  if (position->leaf >= leaves_.size()) return false;
  if (position->at < leaves_[position->leaf].size()) return true;
  if (position->leaf + 1 == leaves_.size()) return false;
  *position = {position->leaf + 1, 0};
  return true;
}

// The extent in front of `position`, nullptr if it is the first.
const PackedExtent* ExtentChunk::Before(Position position) const noexcept {
  if (position.at > 0) return &leaves_[position.leaf][position.at - 1];
  if (position.leaf == 0) return nullptr;
  const ExtentLeaf& leaf = leaves_[position.leaf - 1];
  return &leaf[leaf.size() - 1];
}

void ExtentChunk::JoinNeighbours(Change* change) const noexcept {
  if (change->added_count == 0) return;
  Position before = change->from;
  if (before.at == 0 && before.leaf > 0)
    before = {before.leaf - 1, leaves_[before.leaf - 1].size()};
  if (before.at > 0) {
    --before.at;
    const PackedExtent& extent = leaves_[before.leaf][before.at];
    if (extent.ContinuedBy(change->added[0])) {
      change->added[0] = extent.JoinedWith(change->added[0]);
      change->from = before;
    }
  }
  Position behind = change->to;
  if (!Skip(&behind)) return;
  const PackedExtent& extent = leaves_[behind.leaf][behind.at];
  PackedExtent& last = change->added[change->added_count - 1];
  if (last.ContinuedBy(extent)) {
    last = last.JoinedWith(extent);
    change->to = {behind.leaf, behind.at + 1};
  }
}

void ExtentChunk::Apply(const Change& change) {
  const auto& [from, to, added, added_count] = change;
  const std::span<const PackedExtent> extents(added, added_count);
  if (leaves_.empty()) {
    Insert(from, extents);
    return;
  }
  if (from.leaf == to.leaf) {
    const uint32_t removed = to.at - from.at;
    if (leaves_[from.leaf].size() - removed + added_count <= ExtentLeaf::kMax) {
      SpliceLeaf(from.leaf, from.at, removed, extents);
    } else {
      SpliceLeaf(from.leaf, from.at, removed, {});
      Insert(from, extents);
    }
  } else {
    SpliceLeaf(to.leaf, 0, to.at, {});
    SpliceLeaf(from.leaf, from.at, leaves_[from.leaf].size() - from.at, {});
    const size_t keep = leaves_[to.leaf].size() == 0 ? to.leaf + 1 : to.leaf;
    EraseLeaves(from.leaf + 1, keep);
    Insert(from, extents);
    MergeSmall(from.leaf + 1);
  }
  MergeSmall(from.leaf);
}

void ExtentChunk::Insert(Position position, std::span<const PackedExtent> added) {
  if (added.empty()) return;
  if (leaves_.empty()) InsertLeaf(0);
  const uint32_t size = leaves_[position.leaf].size();
  if (size + added.size() <= ExtentLeaf::kMax) {
    SpliceLeaf(position.leaf, position.at, 0, added);
    return;
  }
  InsertLeaf(position.leaf + 1);
  // Ascending writes leave full leaves behind; anything else splits in the middle.
  if (position.at == size && position.leaf + 2 == leaves_.size()) {
    SpliceLeaf(position.leaf + 1, 0, 0, added);
    return;
  }
  const uint32_t half = size / 2;
  SpliceLeaf(position.leaf + 1, 0, 0, leaves_[position.leaf].extents().subspan(half));
  SpliceLeaf(position.leaf, half, size - half, {});
  if (position.at > half) position = {position.leaf + 1, position.at - half};
  SpliceLeaf(position.leaf, position.at, 0, added);
}

// Every change of a leaf goes through here, so that the counts stay right.
void ExtentChunk::SpliceLeaf(size_t leaf, uint32_t at, uint32_t removed,
                             std::span<const PackedExtent> added) {
  ExtentLeaf& changed = leaves_[leaf];
  const uint64_t bytes_before = changed.memory_bytes();
  changed.Splice(at, removed, added);
  leaf_bytes_ += static_cast<uint32_t>(changed.memory_bytes() - bytes_before);
  extents_ += static_cast<uint32_t>(added.size()) - removed;
}

void ExtentChunk::InsertLeaf(size_t at) {
  if (leaves_.size() == leaves_.capacity())
    leaves_.reserve(leaves_.size() + leaves_.size() / 4 + 1);
  leaves_.insert(leaves_.begin() + static_cast<std::ptrdiff_t>(at), ExtentLeaf());
}

void ExtentChunk::EraseLeaves(size_t from, size_t to) {
  for (size_t leaf = from; leaf < to; ++leaf) {
    leaf_bytes_ -= static_cast<uint32_t>(leaves_[leaf].memory_bytes());
    extents_ -= leaves_[leaf].size();
  }
  leaves_.erase(leaves_.begin() + static_cast<std::ptrdiff_t>(from),
                leaves_.begin() + static_cast<std::ptrdiff_t>(to));
  if (leaves_.capacity() > leaves_.size() * 2 + 4) {
    std::vector<ExtentLeaf> tight;
    tight.reserve(leaves_.size());
    std::move(leaves_.begin(), leaves_.end(), std::back_inserter(tight));
    leaves_ = std::move(tight);
  }
}

void ExtentChunk::MergeSmall(size_t leaf) {
  if (leaf >= leaves_.size() || leaves_[leaf].size() >= kSmall) return;
  if (leaves_[leaf].size() == 0) {
    EraseLeaves(leaf, leaf + 1);
    return;
  }
  size_t left = leaf;
  const auto fits = [this](size_t at) {
    return at + 1 < leaves_.size() && leaves_[at].size() + leaves_[at + 1].size() <= kMerged;
  };
  if (!fits(left)) {
    if (leaf == 0 || !fits(leaf - 1)) return;
    left = leaf - 1;
  }
  SpliceLeaf(left, leaves_[left].size(), 0, leaves_[left + 1].extents());
  EraseLeaves(left + 1, left + 2);
}

}  // namespace weir
