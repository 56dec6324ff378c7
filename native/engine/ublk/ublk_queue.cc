#include "engine/ublk/ublk_queue.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <cerrno>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/types.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace weir {
namespace {

// A page more than a buffer needs: at a power of two, the first pages of all buffers would fall
// into the same few places of the caches of data and of addresses (measured under emulation:
// copying 4 KiB into one of 32 buffers in turn 17.8 us against 7.5).
size_t BufferStride(const UblkQueueConfig& config) {
  return size_t{config.max_io_bytes} + kBlockBytes;
}

}  // namespace

class UblkQueue::Tag final : public Completion {
 public:
  Tag(UblkQueue* queue, uint16_t tag) noexcept : queue_(queue), tag_(tag) {}
  void OnCompletion(int result, uint32_t /*flags*/) override { queue_->OnTag(tag_, result); }

 private:
  UblkQueue* queue_;
  uint16_t tag_;
};

UblkQueue::UblkQueue(Loop& loop, BlockDevice& device, std::unique_ptr<UblkChannel> channel,
                     const UblkQueueConfig& config)
    : loop_(loop),
      device_(device),
      config_(config),
      channel_(std::move(channel)),
      requests_(config.depth) {
  left_behind_.reserve(config.depth);
  void* mapped = ::mmap(nullptr, size_t{config.depth} * BufferStride(config),
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEIR_CHECK(mapped != MAP_FAILED);
  // A huge page would be cleared whole at the first byte of the first request, in the stall of a
  // handoff (measured under emulation: 6 ms), and most requests need one small page of a buffer.
  (void)::madvise(mapped, size_t{config.depth} * BufferStride(config), MADV_NOHUGEPAGE);
  buffers_ = static_cast<std::byte*>(mapped);
  tags_.reserve(config.depth);
  free_buffers_.reserve(config.depth);
  for (uint16_t tag = 0; tag < config.depth; ++tag) {
    tags_.emplace_back(this, tag);
    requests_[tag].tag = tag;
    requests_[tag].owner = this;
    free_buffers_.push_back(buffers_ + size_t{tag} * BufferStride(config));
  }
}

UblkQueue::~UblkQueue() { ::munmap(buffers_, size_t{config_.depth} * BufferStride(config_)); }

void UblkQueue::Begin(std::function<void()> all_aborted) {
  all_aborted_ = std::move(all_aborted);
  // Memory that this thread allocates while it serves a write must not be reclaimed by writing to
  // the device itself. Refused without CAP_SYS_RESOURCE, which only tests lack.
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  for (uint16_t tag = 0; tag < config_.depth; ++tag) {
    channel_->Command(loop_, &tags_[tag], ublk::kFetch, tag, 0);
  }
}

void UblkQueue::Hold() {
  WEIR_CHECK(!frozen_);
  frozen_ = true;
}

void UblkQueue::CloseChannel() { channel_.reset(); }

void UblkQueue::Freeze(std::function<void()> done) {
  WEIR_CHECK(!frozen_);
  frozen_ = true;
  frozen_done_ = std::move(done);
  MaybeFrozen();
}

void UblkQueue::MaybeFrozen() {
  if (!frozen_ || in_device_ > 0 || !frozen_done_) return;
  // The commits of this round are submitted at its end, so before a task of the next one runs. A
  // task may still run in the round that posts it, but not the one that such a task posts.
  loop_.Post([&loop = loop_, done = std::exchange(frozen_done_, nullptr)]() mutable {
    loop.Post(std::move(done));
  });
}

void UblkQueue::Thaw() {
  WEIR_CHECK(frozen_ && !frozen_done_);
  frozen_ = false;
  for (const uint16_t tag : std::exchange(left_behind_, {})) StartRequest(tag);
}

void UblkQueue::OnTag(uint16_t tag, int result) {
  if (result < 0) {
    ++aborted_;
    if (abort_error_ == 0) abort_error_ = -result;
    NoteGone();
  } else if (frozen_) {
    left_behind_.push_back(tag);
    NoteGone();
  } else {
    StartRequest(tag);
  }
}

// Of a tag that was aborted or left behind the kernel has no command any more. When that is true of
// all, nothing but the open file ties the queue to the device.
void UblkQueue::NoteGone() {
  const size_t gone = aborted_ + left_behind_.size();
  WEIR_CHECK(gone <= config_.depth);
  if (gone == config_.depth && aborted_ > 0 && all_aborted_) {
    loop_.Post(std::exchange(all_aborted_, nullptr));
  }
}

void UblkQueue::StartRequest(uint16_t tag) {
  TagRequest& request = requests_[tag];
  const int refused = Fill(request, channel_->Descriptor(tag));
  if (refused != 0) {
    Commit(tag, -refused);
    return;
  }
  if (request.op == IoOp::kRead || request.op == IoOp::kWrite) {
    request.buffer = free_buffers_.back();
    free_buffers_.pop_back();
    request.data = request.buffer;
  }
  ++in_device_;
  if (request.op == IoOp::kWrite &&
      !channel_->CopyFromRequest(tag, request.buffer, request.length_bytes)) {
    OnIoDone(&request, -EIO);
    return;
  }
  device_.Submit(&request);
}

int UblkQueue::Fill(TagRequest& request, const ublk::IoDescriptor& descriptor) const {
  switch (descriptor.op_flags & ublk::kOpMask) {
    case ublk::kOpRead:
      request.op = IoOp::kRead;
      break;
    case ublk::kOpWrite:
      request.op = IoOp::kWrite;
      break;
    case ublk::kOpFlush:
      request.op = IoOp::kFlush;
      break;
    case ublk::kOpDiscard:
      request.op = IoOp::kDiscard;
      break;
    case ublk::kOpWriteZeroes:
      request.op = IoOp::kWriteZeroes;
      break;
    default:
      return EOPNOTSUPP;
  }
  request.fua = request.op != IoOp::kRead && (descriptor.op_flags & ublk::kFlagFua) != 0;
  request.buffer = nullptr;
  request.data = nullptr;
  if (request.op == IoOp::kFlush) {
    request.offset_bytes = 0;
    request.length_bytes = 0;
    return 0;
  }
  const uint64_t length_bytes = uint64_t{descriptor.sectors} << ublk::kSectorShift;
  request.offset_bytes = descriptor.start_sector << ublk::kSectorShift;
  request.length_bytes = static_cast<uint32_t>(length_bytes);
  // The kernel keeps to the limits it was given; a request beyond them would be our mistake, and
  // must not become damage.
  const uint64_t size_bytes = device_.size_bytes();
  const bool carries_data = request.op == IoOp::kRead || request.op == IoOp::kWrite;
  if (length_bytes == 0 || length_bytes % kBlockBytes != 0 || length_bytes > UINT32_MAX ||
      request.offset_bytes % kBlockBytes != 0 ||
      (carries_data && length_bytes > config_.max_io_bytes)) {
    return EINVAL;
  }
  if (request.offset_bytes > size_bytes || length_bytes > size_bytes - request.offset_bytes) {
    return request.op == IoOp::kWrite || request.op == IoOp::kWriteZeroes ? ENOSPC : EINVAL;
  }
  return 0;
}

void UblkQueue::OnIoDone(IoRequest* done, int result) {
  auto& request = static_cast<TagRequest&>(*done);
  WEIR_CHECK(in_device_ > 0);
  --in_device_;
  if (result == kGivenBack) {
    WEIR_CHECK(frozen_);
    if (request.buffer != nullptr) free_buffers_.push_back(std::exchange(request.buffer, nullptr));
    left_behind_.push_back(request.tag);
    NoteGone();
    MaybeFrozen();
    return;
  }
  const bool carries_data = request.op == IoOp::kRead || request.op == IoOp::kWrite;
  int32_t answer = carries_data ? static_cast<int32_t>(request.length_bytes) : 0;
  if (result != 0) answer = result;
  if (result == 0 && request.op == IoOp::kRead &&
      !channel_->CopyToRequest(request.tag, request.data, request.length_bytes)) {
    answer = -EIO;
  }
  if (request.buffer != nullptr) free_buffers_.push_back(std::exchange(request.buffer, nullptr));
  Commit(request.tag, answer);
  MaybeFrozen();
}

void UblkQueue::Commit(uint16_t tag, int32_t result) {
  channel_->Command(loop_, &tags_[tag], ublk::kCommitAndFetch, tag, result);
  loop_.NoteAnswer();
}

}  // namespace weir
