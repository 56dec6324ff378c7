// Copies a chunk's extents out of the map and into it, listing each frame and each segment once.
#include "engine/map/chunk_image.h"

#include <unordered_map>
#include <vector>

#include "engine/base/check.h"

namespace weir {
namespace {

// Numbers keys in the order in which they are first met.
template <typename Key>
class Numbering {
 public:
  // The key's number; *added tells that it is new.
  uint32_t Of(Key key, bool* added) {
    const auto [entry, inserted] =
        numbers_.try_emplace(key, static_cast<uint32_t>(numbers_.size()));
    *added = inserted;
    return entry->second;
  }

 private:
  std::unordered_map<Key, uint32_t> numbers_;
};

}  // namespace

ChunkImage MakeChunkImage(uint32_t chunk, const ExtentMap& map, const SegmentTable& segments) {
  ChunkImage image;
  image.chunk = chunk;
  const uint64_t chunk_start = uint64_t{chunk} * kChunkBlocks;
  Numbering<uint32_t> segment_numbers;
  Numbering<uint64_t> frame_numbers;
  map.Visit(chunk_start, kChunkBlocks, [&](const Extent& extent) {
    WEIR_CHECK(extent.kind == PlaceKind::kFrame);
    const FramePlace& place = extent.frame;
    bool added = false;
    const uint32_t segment = segment_numbers.Of(place.segment, &added);
    if (added) image.segments.push_back(segments.at(place.segment));
    const uint32_t frame = frame_numbers.Of(uint64_t{place.segment} << 32 | place.offset, &added);
    if (added) {
      image.frames.push_back({.segment = segment,
                              .offset = place.offset,
                              .length = place.length,
                              .blocks = place.frame_blocks});
    }
    image.extents.push_back({.start = static_cast<uint16_t>(extent.start - chunk_start),
                             .count_minus_one = static_cast<uint16_t>(extent.count - 1),
                             .frame = static_cast<uint16_t>(frame),
                             .block_in_frame = place.block});
  });
  return image;
}

void PlaceChunkImage(const ChunkImage& image, ExtentMap* map, SegmentTable* segments) {
  std::vector<uint32_t> refs;
  refs.reserve(image.segments.size());
  // One block too many while placing, so that a segment without extents goes again at the end.
  for (const SegmentId& id : image.segments) {
    refs.push_back(segments->Intern(id));
    segments->Retain(refs.back(), 1);
  }
  for (const ChunkExtent& extent : image.extents) {
    const ChunkFrame& frame = image.frames[extent.frame];
    const uint32_t ref = refs[frame.segment];
    const uint64_t count = extent.count_minus_one + 1U;
    map->Assign({.start = uint64_t{image.chunk} * kChunkBlocks + extent.start,
                 .count = count,
                 .kind = PlaceKind::kFrame,
                 .journal = {},
                 .frame = {.segment = ref,
                           .offset = frame.offset,
                           .length = frame.length,
                           .block = extent.block_in_frame,
                           .frame_blocks = frame.blocks}});
    segments->Retain(ref, count);
  }
  for (const uint32_t ref : refs) segments->Release(ref, 1);
}

}  // namespace weir
