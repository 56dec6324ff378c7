#include "engine/nbd/nbd_buffers.h"

#include <algorithm>
#include <bit>

#include "engine/base/check.h"
#include "engine/base/types.h"

namespace weir {
namespace {

size_t ClassOf(size_t bytes) noexcept {
  const size_t blocks = (bytes + kBlockBytes - 1) / kBlockBytes;
  return static_cast<size_t>(std::bit_width(std::bit_ceil(std::max<size_t>(blocks, 1))) - 1);
}

}  // namespace

NbdBuffers::~NbdBuffers() { WEIR_CHECK(handed_out_ == 0); }

NbdChunk* NbdBuffers::TakeChunk(size_t bytes_min) {
  ++handed_out_;
  if (bytes_min <= kChunkBytes && !idle_chunks_.empty()) {
    NbdChunk* chunk = idle_chunks_.back().release();
    idle_chunks_.pop_back();
    chunk->references = 1;
    return chunk;
  }
  auto chunk = std::make_unique<NbdChunk>();
  chunk->capacity = std::max(bytes_min, kChunkBytes);
  chunk->bytes = std::make_unique_for_overwrite<std::byte[]>(chunk->capacity);
  chunk->references = 1;
  return chunk.release();
}

void NbdBuffers::Release(NbdChunk* chunk) {
  WEIR_CHECK(chunk->references > 0);
  if (--chunk->references > 0) return;
  --handed_out_;
  std::unique_ptr<NbdChunk> owned(chunk);
  if (owned->capacity == kChunkBytes && idle_chunks_.size() < kPooledChunksMax) {
    idle_chunks_.push_back(std::move(owned));
  }
}

std::byte* NbdBuffers::TakeData(size_t bytes) {
  ++handed_out_;
  const size_t size_class = ClassOf(bytes);
  if (size_class < kClasses && !idle_data_[size_class].empty()) {
    std::byte* data = idle_data_[size_class].back().release();
    idle_data_[size_class].pop_back();
    return data;
  }
  const size_t rounded = size_class < kClasses ? size_t{kBlockBytes} << size_class : bytes;
  return std::make_unique_for_overwrite<std::byte[]>(rounded).release();
}

void NbdBuffers::ReleaseData(std::byte* data, size_t bytes) {
  WEIR_CHECK(handed_out_ > 0);
  --handed_out_;
  std::unique_ptr<std::byte[]> owned(data);
  const size_t size_class = ClassOf(bytes);
  if (size_class >= kClasses) return;
  std::vector<std::unique_ptr<std::byte[]>>& idle = idle_data_[size_class];
  const size_t class_bytes = size_t{kBlockBytes} << size_class;
  if ((idle.size() + 1) * class_bytes <= kPooledBytesMaxPerClass) idle.push_back(std::move(owned));
}

}  // namespace weir
