// Contents for the clean cache's tests: what a frame holds follows from its number, so that every
// hit can be checked byte by byte. And a folder of its own for each test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/cache/clean_cache.h"

namespace weir {

using Bytes = std::vector<std::byte>;
inline constexpr uint32_t kFull = kFrameBlocksMax;
inline constexpr uint64_t kMiB = 1U << 20;

inline FrameKey KeyOf(uint64_t number) {
  FrameKey key;
  key.segment.volume.bytes[0] = static_cast<std::byte>(number % 5);
  key.segment.epoch = 1;
  key.segment.seq = number / 64;
  key.offset = static_cast<uint32_t>(number % 64) * 131'104;
  return key;
}

inline Bytes ContentOf(uint64_t number, uint32_t first, uint32_t count) {
  Bytes content(size_t{count} * kBlockBytes);
  for (uint32_t block = 0; block < count; ++block) {
    const uint64_t word = (number * 64 + first + block + 1) * 0x9e3779b97f4a7c15ULL;
    for (size_t at = 0; at < kBlockBytes; at += 8) {
      const uint64_t mixed = word + at;
      std::memcpy(&content[size_t{block} * kBlockBytes + at], &mixed, 8);
    }
  }
  return content;
}

// Whether the blocks are there; if so, that they are right.
inline bool ReadRight(CleanCache* cache, uint64_t number, uint32_t first, uint32_t count) {
  Bytes out(size_t{count} * kBlockBytes, std::byte{0xee});
  if (!cache->Read(KeyOf(number), first, count, out.data())) return false;
  EXPECT_EQ(out, ContentOf(number, first, count)) << number << " " << first << " " << count;
  return true;
}

inline void Insert(CleanCache* cache, uint64_t number, uint32_t first = 0, uint32_t count = kFull) {
  cache->Insert(KeyOf(number), kFull, first, count, ContentOf(number, first, count).data());
}

// Opens caches in a folder that goes with the test.
class CleanCacheTest : public testing::Test {
 public:
  // Flips a bit.
  static void Damage(const std::string& path, uint64_t offset) {
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::byte byte{};
    ASSERT_EQ(pread(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte ^= std::byte{0x10};
    ASSERT_EQ(pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)), 1);
  }

 protected:
  CleanCacheTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-cache-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~CleanCacheTest() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] CleanCacheConfig Config(uint64_t ram_bytes, uint64_t file_bytes) const {
    return {.directory = directory_, .ram_bytes = ram_bytes, .file_bytes = file_bytes};
  }
  static std::unique_ptr<CleanCache> MustOpen(const CleanCacheConfig& config) {
    Result<std::unique_ptr<CleanCache>> opened = CleanCache::Open(config);
    EXPECT_TRUE(opened.ok()) << opened.error().what;
    return std::move(opened.value());
  }
  [[nodiscard]] std::string data_path() const { return directory_ + "/clean-cache.data"; }
  [[nodiscard]] std::string index_path() const { return directory_ + "/clean-cache.index"; }

  std::string directory_;
};

}  // namespace weir
