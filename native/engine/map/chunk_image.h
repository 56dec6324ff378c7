// Between the map's entries of one chunk and the self-contained copy that a checkpoint stores.
#pragma once

#include <cstdint>

#include "engine/map/extent_map.h"
#include "engine/map/segment_table.h"
#include "engine/segment/chunk_codec.h"

namespace weir {

// Copies the frame extents of a chunk; there must be no others.
[[nodiscard]] ChunkImage MakeChunkImage(uint32_t chunk, const ExtentMap& map,
                                        const SegmentTable& segments);

// Puts a verified image into an empty chunk of the map and counts its blocks in the table.
void PlaceChunkImage(const ChunkImage& image, ExtentMap* map, SegmentTable* segments);

}  // namespace weir
