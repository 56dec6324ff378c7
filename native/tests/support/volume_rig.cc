#include "tests/support/volume_rig.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/segment/chunk_codec.h"

namespace weir::testing {

void FakeBucket::Put(const SegmentId& id, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  EXPECT_TRUE(segments_.emplace(id, std::move(bytes)).second) << "a segment was put twice";
}

Bytes FakeBucket::Range(const SegmentId& id, uint32_t offset, uint32_t length) const {
  const std::lock_guard lock(mutex_);
  const auto found = segments_.find(id);
  if (found == segments_.end() || offset + length > found->second.size()) return {};
  return {found->second.begin() + offset, found->second.begin() + offset + length};
}

std::vector<SegmentIndex> FakeBucket::Indexes(uint64_t after_epoch, uint64_t after_seq) const {
  const std::lock_guard lock(mutex_);
  std::vector<SegmentIndex> indexes;
  for (const auto& [id, bytes] : segments_) {
    if (std::pair(id.epoch, id.seq) <= std::pair(after_epoch, after_seq)) continue;
    auto index = DecodeSegmentIndex(bytes);
    EXPECT_TRUE(index.ok());
    indexes.push_back(std::move(index.value()));
  }
  return indexes;
}

void FakeBucket::PutChunk(uint32_t chunk, Bytes payload) {
  const std::lock_guard lock(mutex_);
  chunks_[chunk] = std::move(payload);
}

void FakeBucket::EraseChunk(uint32_t chunk) {
  const std::lock_guard lock(mutex_);
  chunks_.erase(chunk);
}

Bytes FakeBucket::Chunk(uint32_t chunk) const {
  const std::lock_guard lock(mutex_);
  const auto found = chunks_.find(chunk);
  return found == chunks_.end() ? Bytes{} : found->second;
}

std::vector<uint32_t> FakeBucket::Chunks() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint32_t> chunks;
  for (const auto& [chunk, payload] : chunks_) chunks.push_back(chunk);
  return chunks;
}

void FakeBucket::Damage(const SegmentId& id, uint32_t offset) {
  const std::lock_guard lock(mutex_);
  segments_.at(id).at(offset) ^= std::byte{1};
}

// Answers every wish at once, from the loop thread's next round.
class VolumeRig::Host final : public VolumeHost {
 public:
  Host(VolumeRig& rig, std::shared_ptr<FakeBucket> bucket)
      : rig_(rig), bucket_(std::move(bucket)) {}
  void OnFetchWanted(uint64_t fetch_id, const FrameKey& key, uint32_t length) override {
    ++bucket_->gets;
    Bytes bytes = bucket_->down ? Bytes{} : bucket_->Range(key.segment, key.offset, length);
    rig_.server_->With([fetch_id, bytes](VolumeServer& at) {
      at.volume().CompleteFetch(fetch_id, bytes, [&at, fetch_id](bool stored) {
        // As the real host: bytes that do not verify are given up in the end.
        if (!stored) at.volume().CompleteFetch(fetch_id, {}, [](bool) {});
      });
    });
  }
  void OnChunkWanted(uint32_t chunk) override {
    rig_.server_->With([chunk, bytes = bucket_->Chunk(chunk)](VolumeServer& at) {
      EXPECT_TRUE(at.volume().CompleteChunk(chunk, bytes));
    });
  }
  void OnDirty(bool) override { ++rig_.told_dirty; }
  void OnFailed(Error) override {}

 private:
  VolumeRig& rig_;
  const std::shared_ptr<FakeBucket> bucket_;
};

Uid VolumeRig::VolumeUid() {
  Uid uid;
  uid.bytes.fill(std::byte{7});
  return uid;
}

VolumeRig::VolumeRig(const RigOptions& options, std::shared_ptr<FakeBucket> in,
                     std::shared_ptr<Position> before)
    : position(std::move(before)), bucket(std::move(in)) {
  auto cache =
      CleanCache::Open({.directory = "", .ram_bytes = options.cache_ram_bytes, .file_bytes = 0});
  EXPECT_TRUE(cache.ok());
  cache_ = std::move(cache.value());
  epoch_ = position->epoch + 1;
  if (position->blocks == 0) position->blocks = options.size_blocks;
  VolumeConfig config;
  config.journal = {.directory = options.directory,
                    .volume = VolumeUid(),
                    .journal_id = VolumeUid(),
                    .base_epoch = position->epoch,
                    .base_seq = position->seq,
                    .base_record_seq = 0,
                    .epoch = epoch_,
                    .capacity_bytes = options.journal_bytes,
                    .file_bytes = options.journal_file_bytes};
  config.flush_to_store = options.flush_to_store;
  config.dirty_bytes_max = options.dirty_bytes_max;
  config.batch_bytes = options.batch_bytes;
  VolumeBase base;
  base.chunks = bucket->Chunks();
  base.segments = bucket->Indexes(position->checkpoint_epoch, position->checkpoint_seq);
  base.committed = {VolumeUid(), position->epoch, position->seq};
  base.committed_blocks = position->blocks;
  base.journal_end = position->journal_end;
  server_ = std::make_unique<VolumeServer>(
      VolumeServer::Parts{.cache = cache_.get(),
                          .background = &background_,
                          .foreground = &foreground_,
                          .host = std::make_unique<Host>(*this, bucket)});
  std::promise<bool> opened;
  server_->Start(
      config, std::move(base),
      [&](Result<VolumeStats> stats) {
        if (!stats.ok()) ADD_FAILURE() << stats.error().what;
        opened.set_value(stats.ok());
      },
      options.warm ? VolumeServer::Mode::kWarm : VolumeServer::Mode::kOwner);
  EXPECT_TRUE(opened.get_future().get());
}

VolumeRig::~VolumeRig() { server_->Close(); }

void VolumeRig::On(std::function<void(VolumeServer&)> task) {
  std::promise<void> done;
  server_->With([&](VolumeServer& at) {
    task(at);
    done.set_value();
  });
  done.get_future().wait();
}

int VolumeRig::Run(IoRequest* request) {
  struct Owner final : IoOwner {
    std::promise<int> done;
    void OnIoDone(IoRequest*, int result) override { done.set_value(result); }
  } owner;
  request->owner = &owner;
  server_->With([request](VolumeServer& at) { at.volume().Submit(request); });
  return owner.done.get_future().get();
}

int VolumeRig::Write(uint64_t block, const Bytes& data, bool fua) {
  Bytes copy = data;
  IoRequest request{.op = IoOp::kWrite, .fua = fua, .offset_bytes = block * kBlockBytes};
  request.length_bytes = static_cast<uint32_t>(copy.size());
  request.data = copy.data();
  return Run(&request);
}

int VolumeRig::Zero(uint64_t block, uint32_t count) {
  IoRequest request{.op = IoOp::kDiscard, .offset_bytes = block * kBlockBytes};
  request.length_bytes = count * kBlockBytes;
  return Run(&request);
}

int VolumeRig::Read(uint64_t block, uint32_t count, Bytes* data) {
  data->assign(size_t{count} * kBlockBytes, std::byte{0xee});
  IoRequest request{.op = IoOp::kRead, .offset_bytes = block * kBlockBytes};
  request.length_bytes = count * kBlockBytes;
  request.data = data->data();
  return Run(&request);
}

int VolumeRig::Flush() {
  IoRequest request{.op = IoOp::kFlush};
  return Run(&request);
}

Result<void> VolumeRig::Grow(uint64_t blocks) {
  std::promise<Result<void>> done;
  server_->With([&](VolumeServer& at) {
    at.volume().Grow(blocks, [&](Result<void> result) { done.set_value(result); });
  });
  return done.get_future().get();
}

bool VolumeRig::Upload() {
  std::promise<Result<Batch>> taken;
  server_->With([&](VolumeServer& at) {
    at.volume().TakeBatch({.epoch = epoch_, .seq = next_seq_, .nonce = {}, .created_at_ms = 1},
                          [&](Result<Batch> batch) { taken.set_value(std::move(batch)); });
  });
  Result<Batch> batch = taken.get_future().get();
  if (!batch.ok() || batch.value().bytes.empty()) return false;
  const SegmentId id{VolumeUid(), epoch_, next_seq_++};
  const auto index = DecodeSegmentIndex(batch.value().bytes);
  EXPECT_TRUE(index.ok());
  position->epoch = id.epoch;
  position->seq = id.seq;
  position->journal_end = batch.value().journal_end;
  position->blocks = index.value().header.volume_size_bytes / kBlockBytes;
  bucket->Put(id, std::move(batch.value().bytes));
  On([](VolumeServer& at) { at.volume().CommitBatch(); });
  return true;
}

void VolumeRig::UploadAll() {
  while (Upload()) {
  }
}

void VolumeRig::Checkpoint() {
  for (;;) {
    CheckpointCapture capture;
    On([&](VolumeServer& at) { capture = at.volume().CaptureCheckpoint(); });
    for (const uint32_t chunk : capture.missing_chunks) {
      On([&](VolumeServer& at) {
        EXPECT_TRUE(at.volume().CompleteChunk(chunk, bucket->Chunk(chunk)));
      });
    }
    if (!capture.missing_chunks.empty()) continue;
    std::vector<uint32_t> chunks;
    for (const ChunkImage& image : capture.images) {
      chunks.push_back(image.chunk);
      if (image.extents.empty()) {
        bucket->EraseChunk(image.chunk);
      } else {
        bucket->PutChunk(image.chunk, EncodeChunk(image, 1));
      }
    }
    On([&](VolumeServer& at) { at.volume().CheckpointDone(chunks); });
    position->checkpoint_epoch = capture.epoch;
    position->checkpoint_seq = capture.seq;
    return;
  }
}

void VolumeRig::FailVolume() {
  On([](VolumeServer& at) { at.volume().Fail({EIO, "the test said so"}); });
}

VolumeStats VolumeRig::Stats() {
  VolumeStats stats;
  On([&](VolumeServer& at) { stats = at.volume().stats(); });
  return stats;
}

Bytes Stamped(uint32_t count, uint64_t stamp) {
  Bytes data(size_t{count} * kBlockBytes);
  for (size_t at = 0; at < data.size(); at += 8) {
    const uint64_t word = stamp * 0x9e3779b97f4a7c15ULL + (at / 8) % 512;
    std::memcpy(&data[at], at % kBlockBytes == 0 ? &stamp : &word, 8);
  }
  return data;
}

uint64_t StampOf(const Bytes& data, uint32_t block) {
  const Bytes one(data.begin() + block * kBlockBytes, data.begin() + (block + 1) * kBlockBytes);
  uint64_t stamp = 0;
  std::memcpy(&stamp, one.data(), 8);
  if (stamp == 0) {
    EXPECT_EQ(one, Bytes(kBlockBytes)) << "a block is partly zero";
  } else {
    EXPECT_EQ(one, Stamped(1, stamp)) << "a block is torn";
  }
  return stamp;
}

TempDirectory::TempDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "weir-test-XXXXXX").string();
  EXPECT_NE(::mkdtemp(name.data()), nullptr);
  path_ = name;
}

TempDirectory::~TempDirectory() { std::filesystem::remove_all(path_); }

}  // namespace weir::testing
