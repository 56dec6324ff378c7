// Reserve a slot under the lock, do the file I/O without it, publish under the lock.
#include "engine/cache/file_tier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

constexpr uint32_t kNone = FrameEntry::kNone;
constexpr SlotRecordBytes kFreeSlot{};

bool WriteAll(int fd, const std::byte* from, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t written = pwrite(fd, from, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    from += written;
    size -= static_cast<size_t>(written);
    offset += static_cast<uint64_t>(written);
  }
  return true;
}

bool ReadAll(int fd, std::byte* to, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t got = pread(fd, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<size_t>(got);
    offset += static_cast<uint64_t>(got);
  }
  return true;
}

// Covers whose block it is, so that a slot mixed up with another never passes for it.
uint32_t BlockChecksum(const FrameKey& key, uint32_t block, const std::byte* data) {
  std::array<std::byte, wire::kSegmentIdBytes + 2 * sizeof(uint32_t)> identity;
  wire::StoreSegmentId(identity.data(), key.segment);
  wire::Store<uint32_t>(identity.data() + wire::kSegmentIdBytes, key.offset);
  wire::Store<uint32_t>(identity.data() + wire::kSegmentIdBytes + 4, block);
  return Crc32cExtend(Crc32c(identity), std::span(data, kBlockBytes));
}

// Calls `each(first, count)` for every run of neighbours in the set until it returns false.
template <typename Each>
bool ForEachRun(uint32_t blocks, const Each& each) {
  while (blocks != 0) {
    const auto first = static_cast<uint32_t>(std::countr_zero(blocks));
    const auto count = static_cast<uint32_t>(std::countr_one(blocks >> first));
    if (!each(first, count)) return false;
    blocks &= ~BlockMask(first, count);
  }
  return true;
}

uint64_t SlotOffset(uint32_t slot, uint32_t block) noexcept {
  return uint64_t{slot} * kFrameBytesMax + uint64_t{block} * kBlockBytes;
}

Result<UniqueFd> OpenSized(const std::string& path, uint64_t bytes) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return Error{errno, "cannot open a file of the clean cache"};
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    return Error{EBUSY, "the clean cache's files are in use by another engine"};
  }
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return Error{errno, "cannot size a file of the clean cache"};
  }
  const int failed = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes));
  if (failed != 0) return Error{failed, "cannot preallocate a file of the clean cache"};
  return fd;
}

}  // namespace

Result<std::unique_ptr<FileTier>> FileTier::Open(const std::string& directory, uint64_t bytes) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{errno, "cannot make the clean cache's folder"};
  }
  const auto slots = static_cast<uint32_t>(std::min<uint64_t>(bytes / kFrameBytesMax, kNone - 1));
  if (slots == 0) return Error{EINVAL, "the clean cache's file is smaller than one frame"};
  Result<UniqueFd> data =
      OpenSized(directory + "/clean-cache.data", uint64_t{slots} * kFrameBytesMax);
  if (!data.ok()) return data.error();
  Result<UniqueFd> records =
      OpenSized(directory + "/clean-cache.index", uint64_t{slots} * kSlotRecordBytes);
  if (!records.ok()) return records.error();
  // Reads are of single frames anywhere: what the kernel would read ahead is another frame.
  static_cast<void>(posix_fadvise(data.value().get(), 0, 0, POSIX_FADV_RANDOM));
  std::unique_ptr<FileTier> tier(
      new FileTier(std::move(data.value()), std::move(records.value()), slots));
  tier->Load();
  return tier;
}

FileTier::FileTier(UniqueFd data, UniqueFd records, uint32_t slots)
    : data_(std::move(data)), records_(std::move(records)), index_(slots) {}

// Descending, so that free slots are used from the file's start.
void FileTier::Load() {
  constexpr uint32_t kBatch = 4096;
  std::vector<std::byte> batch(size_t{kBatch} * kSlotRecordBytes);
  uint32_t end = index_.capacity();
  while (end > 0) {
    const uint32_t start = (end - 1) / kBatch * kBatch;
    const size_t size = size_t{end - start} * kSlotRecordBytes;
    const bool read =
        ReadAll(records_.get(), batch.data(), size, uint64_t{start} * kSlotRecordBytes);
    for (uint32_t slot = end; slot-- > start;) {
      const std::byte* at = batch.data() + size_t{slot - start} * kSlotRecordBytes;
      const std::span<const std::byte, kSlotRecordBytes> bytes(at, kSlotRecordBytes);
      if (!read || LoadRecord(slot, bytes) == kNone) index_.Free(slot);
    }
    end = start;
  }
}

// kNone when the slot is free.
uint32_t FileTier::LoadRecord(uint32_t slot, std::span<const std::byte, kSlotRecordBytes> bytes) {
  SlotRecord record;
  if (!DecodeSlotRecord(slot, bytes, &record) || index_.Find(record.key) != kNone) return kNone;
  index_.Restore(slot, record.key, record.frame_blocks);
  index_.at(slot).valid = record.valid;
  index_.at(slot).words = record.checksums;
  return slot;
}

FileTier::ReadResult FileTier::Read(const FrameKey& key, uint32_t wanted, uint32_t first,
                                    std::byte* out) {
  ReadResult result;
  uint32_t slot = kNone;
  std::array<uint32_t, kFrameBlocksMax> checksums;
  {
    const std::lock_guard lock(mutex_);
    slot = index_.Find(key);
    if (slot == kNone || (index_.at(slot).valid & wanted) != wanted) return result;
    FrameEntry& entry = index_.at(slot);
    index_.Touch(slot, wanted);
    index_.Pin(slot);
    result.hot = entry.frequency > 0;
    result.frame_blocks = entry.frame_blocks;
    checksums = entry.words;
  }
  if (ReadBlocks(slot, wanted, first, out)) {
    ForEachBlock(wanted, [&](uint32_t block) {
      const std::byte* data = out + size_t{block - first} * kBlockBytes;
      if (BlockChecksum(key, block, data) != checksums[block]) ++result.corrupt;
    });
  } else {
    result.corrupt = static_cast<uint32_t>(std::popcount(wanted));
  }
  if (result.corrupt > 0) Drop(slot);
  index_.Unpin(slot);
  result.hit = result.corrupt == 0;
  return result;
}

void FileTier::Insert(const FrameKey& key, uint32_t frame_blocks, uint32_t blocks, uint32_t first,
                      const std::byte* data) {
  uint32_t slot = kNone;
  bool reused = false;
  {
    const std::lock_guard lock(mutex_);
    slot = Reserve(key, frame_blocks, &blocks, &reused);
  }
  if (slot == kNone) return;
  if (reused) WriteRecord(slot, kFreeSlot);
  std::array<uint32_t, kFrameBlocksMax> checksums;
  ForEachBlock(blocks, [&](uint32_t block) {
    checksums[block] = BlockChecksum(key, block, data + size_t{block - first} * kBlockBytes);
  });
  const bool written = WriteBlocks(slot, blocks, first, data);
  SlotRecordBytes record;
  {
    const std::lock_guard lock(mutex_);
    FrameEntry& entry = index_.at(slot);
    entry.pending &= ~blocks;
    if (written) {
      entry.valid |= blocks;
      ForEachBlock(blocks, [&](uint32_t block) { entry.words[block] = checksums[block]; });
    }
    record = EncodeSlotRecord(slot, {key, entry.valid, entry.frame_blocks, entry.words});
  }
  if (written) WriteRecord(slot, record);
  index_.Unpin(slot);
}

void FileTier::MakeHot(const FrameKey& key) {
  const std::lock_guard lock(mutex_);
  const uint32_t slot = index_.Find(key);
  if (slot != kNone) index_.MakeHot(slot);
}

uint32_t FileTier::Holds(const FrameKey& key, uint32_t* frame_blocks) const {
  const std::lock_guard lock(mutex_);
  const uint32_t slot = index_.Find(key);
  if (slot == kNone) return 0;
  *frame_blocks = index_.at(slot).frame_blocks;
  return index_.at(slot).valid;
}

uint64_t FileTier::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return uint64_t{index_.used()} * kFrameBytesMax;
}

uint64_t FileTier::index_bytes() const { return FrameIndex::MemoryBytes(index_.capacity()); }

// Under the lock. Pins the frame's slot, old or new, and marks those of *blocks that nobody has or
// is writing; *blocks is cut to them. *reused: another frame's record must go first. kNone: nothing
// to insert, or every slot in reach is in use.
uint32_t FileTier::Reserve(const FrameKey& key, uint32_t frame_blocks, uint32_t* blocks,
                           bool* reused) {
  uint32_t slot = index_.Find(key);
  if (slot != kNone) {
    *blocks &= ~(index_.at(slot).valid | index_.at(slot).pending);
    if (*blocks == 0) return kNone;
  } else {
    if (index_.full()) {
      const uint32_t victim = index_.TakeVictim();
      if (victim == kNone) return kNone;
      index_.Free(victim);
      *reused = true;
    }
    slot = index_.Add(key, frame_blocks);
  }
  index_.at(slot).pending |= *blocks;
  index_.Pin(slot);
  return slot;
}

bool FileTier::WriteBlocks(uint32_t slot, uint32_t blocks, uint32_t first,
                           const std::byte* data) const {
  return ForEachRun(blocks, [&](uint32_t from, uint32_t count) {
    return WriteAll(data_.get(), data + size_t{from - first} * kBlockBytes,
                    size_t{count} * kBlockBytes, SlotOffset(slot, from));
  });
}

bool FileTier::ReadBlocks(uint32_t slot, uint32_t blocks, uint32_t first, std::byte* out) const {
  return ForEachRun(blocks, [&](uint32_t from, uint32_t count) {
    return ReadAll(data_.get(), out + size_t{from - first} * kBlockBytes,
                   size_t{count} * kBlockBytes, SlotOffset(slot, from));
  });
}

// A record that cannot be written only makes the slot a miss after a restart.
void FileTier::WriteRecord(uint32_t slot, const SlotRecordBytes& bytes) const {
  static_cast<void>(
      WriteAll(records_.get(), bytes.data(), bytes.size(), uint64_t{slot} * kSlotRecordBytes));
}

// The slot, which the caller has pinned, forgets its blocks; it ages out of the queues by itself.
void FileTier::Drop(uint32_t slot) {
  {
    const std::lock_guard lock(mutex_);
    index_.at(slot).valid = 0;
  }
  WriteRecord(slot, kFreeSlot);
}

}  // namespace weir
