// A volume on its own thread over a bucket in memory, driven synchronously by a test: the fake host
// that unit tests of the volume share.
#pragma once

#include <atomic>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/cache/clean_cache.h"
#include "engine/volume/volume_server.h"
#include "engine/volume/worker.h"

namespace weir::testing {

using Bytes = std::vector<std::byte>;

// The bucket: whole segments by id, checkpoint chunks by index. Thread-safe.
class FakeBucket {
 public:
  void Put(const SegmentId& id, Bytes bytes);
  [[nodiscard]] Bytes Range(const SegmentId& id, uint32_t offset, uint32_t length) const;
  [[nodiscard]] std::vector<SegmentIndex> Indexes(uint64_t after_epoch, uint64_t after_seq) const;
  void PutChunk(uint32_t chunk, Bytes payload);
  [[nodiscard]] Bytes Chunk(uint32_t chunk) const;
  [[nodiscard]] std::vector<uint32_t> Chunks() const;
  void EraseChunk(uint32_t chunk);
  // Flips one bit of the stored segment's byte.
  void Damage(const SegmentId& id, uint32_t offset);
  std::atomic<uint64_t> gets{0};
  std::atomic<bool> down{false};

 private:
  mutable std::mutex mutex_;
  std::map<SegmentId, Bytes> segments_;
  std::map<uint32_t, Bytes> chunks_;
};

struct RigOptions {
  std::string directory = {};
  uint64_t size_blocks = 1U << 16;
  uint64_t cache_ram_bytes = 4U << 20;
  uint64_t journal_bytes = 64U << 20;
  uint32_t journal_file_bytes = 4U << 20;
  uint64_t batch_bytes = 1U << 20;
  uint64_t dirty_bytes_max = 32U << 20;
  bool flush_to_store = false;
  bool warm = false;  // beside the rig that serves
};

class VolumeRig {
 public:
  // `before`: what the last rig on this bucket left.
  struct Position;
  VolumeRig(const RigOptions& options, std::shared_ptr<FakeBucket> bucket,
            std::shared_ptr<Position> before);
  // Like a killed process: what is in the journal is all that is left. (The page cache survives.)
  ~VolumeRig();

  int Write(uint64_t block, const Bytes& data, bool fua = false);
  int Zero(uint64_t block, uint32_t count);
  int Read(uint64_t block, uint32_t count, Bytes* data);
  int Flush();
  Result<void> Grow(uint64_t blocks);
  // Uploads and commits one batch; false when there was nothing to take.
  bool Upload();
  void UploadAll();
  // A full checkpoint into the bucket; segments up to here are behind it for the next rig.
  void Checkpoint();
  void FailVolume();
  [[nodiscard]] VolumeStats Stats();
  [[nodiscard]] CleanCache& cache() noexcept { return *cache_; }
  // How often the volume said that data waits.
  std::atomic<uint64_t> told_dirty{0};
  [[nodiscard]] VolumeServer& server() noexcept { return *server_; }
  // Runs on the loop thread, waits.
  void On(std::function<void(VolumeServer&)> task);

  // What a rig leaves behind for the next one on the same bucket.
  struct Position {
    uint64_t epoch = 0, seq = 0, journal_end = 0, blocks = 0;
    uint64_t checkpoint_epoch = 0, checkpoint_seq = 0;
  };
  [[nodiscard]] static Uid VolumeUid();
  // Shared by the rigs of one bucket.
  std::shared_ptr<Position> position;
  std::shared_ptr<FakeBucket> bucket;

 private:
  class Host;
  int Run(IoRequest* request);

  std::unique_ptr<CleanCache> cache_;
  Worker background_{0};
  Worker foreground_{0};
  std::unique_ptr<VolumeServer> server_;
  uint64_t epoch_ = 0;
  uint64_t next_seq_ = 1;
};

// `count` blocks that all carry `stamp`.
[[nodiscard]] Bytes Stamped(uint32_t count, uint64_t stamp);
[[nodiscard]] uint64_t StampOf(const Bytes& data, uint32_t block);

// An empty folder below the test's temporary directory, removed at the end.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace weir::testing
