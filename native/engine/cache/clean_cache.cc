// Two tiers behind one face: RAM first, then the file; what is read from the file again moves up.
#include "engine/cache/clean_cache.h"

#include <algorithm>
#include <atomic>

#include "engine/base/check.h"
#include "engine/cache/file_tier.h"
#include "engine/cache/frame_index.h"
#include "engine/cache/ram_tier.h"

namespace weir {

struct CleanCache::State {
  State(uint64_t ram_bytes, std::unique_ptr<FileTier> file_tier)
      : ram(ram_bytes), owned_file(std::move(file_tier)), file_(owned_file.get()) {}

  // May be null; once there it stays. The acquire is OpenFile()'s release's partner.
  [[nodiscard]] FileTier* file() const noexcept { return file_.load(std::memory_order_acquire); }

  RamTier ram;
  std::unique_ptr<FileTier> owned_file;
  std::atomic<FileTier*> file_;
  std::atomic<uint64_t> ram_hits{0};
  std::atomic<uint64_t> file_hits{0};
  std::atomic<uint64_t> misses{0};
  std::atomic<uint64_t> corrupt{0};

  // Returns the blocks that RAM had.
  [[nodiscard]] uint32_t ReadRam(const FrameKey& key, uint32_t wanted, RamTier::Need need,
                                 uint32_t first, std::byte* out);
  [[nodiscard]] bool ReadFile(const FrameKey& key, uint32_t wanted, uint32_t first, std::byte* out);
};

uint32_t CleanCache::State::ReadRam(const FrameKey& key, uint32_t wanted, RamTier::Need need,
                                    uint32_t first, std::byte* out) {
  const RamTier::ReadResult result = ram.Read(key, wanted, need, first, out);
  // RAM hides these reads from the file tier, which must not lose the hottest frames for that.
  FileTier* const tier = result.became_hot ? file() : nullptr;
  if (tier != nullptr) tier->MakeHot(key);
  if (result.blocks == wanted) ram_hits.fetch_add(1, std::memory_order_relaxed);
  return result.blocks;
}

// Reads what RAM did not have; `out` is where block `first` goes.
bool CleanCache::State::ReadFile(const FrameKey& key, uint32_t wanted, uint32_t first,
                                 std::byte* out) {
  FileTier* const tier = file();
  if (tier == nullptr) return false;
  const FileTier::ReadResult result = tier->Read(key, wanted, first, out);
  corrupt.fetch_add(result.corrupt, std::memory_order_relaxed);
  if (result.hit && result.hot) ram.Insert(key, result.frame_blocks, wanted, first, out);
  return result.hit;
}

Result<std::unique_ptr<CleanCache>> CleanCache::Open(const CleanCacheConfig& config) {
  std::unique_ptr<FileTier> file;
  uint64_t ram_bytes = config.ram_bytes;
  if (!config.directory.empty() && config.file_bytes >= kFrameBytesMax) {
    Result<std::unique_ptr<FileTier>> opened = FileTier::Open(config.directory, config.file_bytes);
    if (!opened.ok()) return opened.error();
    file = std::move(opened.value());
    ram_bytes -= std::min(ram_bytes, file->index_bytes());
  }
  return std::unique_ptr<CleanCache>(
      new CleanCache(std::make_unique<State>(ram_bytes, std::move(file))));
}

Result<void> CleanCache::OpenFile(const std::string& directory, uint64_t file_bytes) {
  if (directory.empty() || file_bytes < kFrameBytesMax) return {};
  WEIR_CHECK(state_->file() == nullptr);
  Result<std::unique_ptr<FileTier>> opened = FileTier::Open(directory, file_bytes);
  if (!opened.ok()) return opened.error();
  state_->owned_file = std::move(opened.value());
  state_->file_.store(state_->owned_file.get(), std::memory_order_release);
  return {};
}

CleanCache::CleanCache(std::unique_ptr<State> state) : state_(std::move(state)) {}
CleanCache::~CleanCache() = default;

bool CleanCache::Read(const FrameKey& key, uint32_t first, uint32_t count, std::byte* out) {
  WEIR_CHECK(count > 0 && first + count <= kFrameBlocksMax);
  const uint32_t wanted = BlockMask(first, count);
  const uint32_t missing = wanted & ~state_->ReadRam(key, wanted, RamTier::Need::kAny, first, out);
  if (missing == 0) return true;
  const bool hit = state_->ReadFile(key, missing, first, out);
  (hit ? state_->file_hits : state_->misses).fetch_add(1, std::memory_order_relaxed);
  return hit;
}

bool CleanCache::ReadRam(const FrameKey& key, uint32_t first, uint32_t count, std::byte* out) {
  WEIR_CHECK(count > 0 && first + count <= kFrameBlocksMax);
  const uint32_t wanted = BlockMask(first, count);
  return state_->ReadRam(key, wanted, RamTier::Need::kAll, first, out) == wanted;
}

void CleanCache::Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t first, uint32_t count,
                        const std::byte* data) {
  WEIR_CHECK(count > 0 && frame_blocks <= kFrameBlocksMax && first + count <= frame_blocks);
  const uint32_t blocks = BlockMask(first, count);
  state_->ram.Insert(key, frame_blocks, blocks, first, data);
  FileTier* const tier = state_->file();
  if (tier != nullptr) tier->Insert(key, frame_blocks, blocks, first, data);
}

bool CleanCache::Contains(const FrameKey& key) const {
  uint32_t frame_blocks = 0;
  uint32_t held = state_->ram.Holds(key, &frame_blocks);
  const FileTier* const tier = state_->file();
  if (tier != nullptr) held |= tier->Holds(key, &frame_blocks);
  return frame_blocks > 0 && held == BlockMask(0, frame_blocks);
}

CleanCache::Stats CleanCache::stats() const {
  Stats stats;
  stats.ram_hits = state_->ram_hits.load(std::memory_order_relaxed);
  stats.file_hits = state_->file_hits.load(std::memory_order_relaxed);
  stats.misses = state_->misses.load(std::memory_order_relaxed);
  stats.corrupt = state_->corrupt.load(std::memory_order_relaxed);
  stats.ram_bytes = state_->ram.held_bytes();
  if (const FileTier* const tier = state_->file(); tier != nullptr) {
    stats.ram_bytes += tier->index_bytes();
    stats.file_bytes = tier->held_bytes();
  }
  return stats;
}

}  // namespace weir
