// Memory of the NBD transport: chunks that are received into and whose bytes the device reads in
// place, and data buffers that reads fill. Both are pooled, so that steady load allocates nothing.
//
// Thread: the loop thread. Everything handed out must be back before the pool is destroyed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace weir {

// Received bytes. One reference is the connection's that fills it, the others belong to write
// requests whose payload lies in it; the last one to go returns it to the pool.
struct NbdChunk {
  std::unique_ptr<std::byte[]> bytes;
  size_t capacity = 0;
  uint32_t references = 0;
};

class NbdBuffers {
 public:
  // Seven writes of 128 KiB, or 254 of 4 KiB, between two changes of the chunk.
  static constexpr size_t kChunkBytes = 1U << 20;

  NbdBuffers() = default;
  NbdBuffers(const NbdBuffers&) = delete;
  NbdBuffers& operator=(const NbdBuffers&) = delete;
  ~NbdBuffers();

  // A chunk of at least `bytes_min`, with one reference.
  NbdChunk* TakeChunk(size_t bytes_min);
  void Release(NbdChunk* chunk);

  // Room for `bytes` of a read; give it back with the same number.
  std::byte* TakeData(size_t bytes);
  void ReleaseData(std::byte* data, size_t bytes);

 private:
  // Data buffers come in sizes 4 KiB << class; larger ones than the last class are not pooled.
  static constexpr size_t kClasses = 9;
  static constexpr size_t kPooledBytesMaxPerClass = 1U << 20;
  static constexpr size_t kPooledChunksMax = 8;

  std::vector<std::unique_ptr<NbdChunk>> idle_chunks_;
  std::array<std::vector<std::unique_ptr<std::byte[]>>, kClasses> idle_data_;
  size_t handed_out_ = 0;
};

}  // namespace weir
