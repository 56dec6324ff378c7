// Requests to a device node.
#include "oracle/device_target.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "engine/base/types.h"
#include "engine/base/unique_fd.h"

namespace weir::oracle {
namespace {

// BLOCK_URING_CMD_DISCARD of <linux/blkdev.h> in Linux 6.12; older headers do not know it.
constexpr uint32_t kUringDiscard = _IO(0x12, 0);

struct Opened {
  UniqueFd fd;
  uint64_t bytes = 0;
  bool is_block_device = false;
};

class DeviceTarget final : public Target {
 public:
  DeviceTarget(Opened opened, uint32_t depth) : opened_(std::move(opened)), slots_(depth) {}
  DeviceTarget(const DeviceTarget&) = delete;
  DeviceTarget& operator=(const DeviceTarget&) = delete;
  ~DeviceTarget() override {
    if (ring_ready_) io_uring_queue_exit(&ring_);
  }

  [[nodiscard]] Result<void> Start() {
    const auto entries = static_cast<unsigned>(slots_.size());
    const int failed = io_uring_queue_init(entries, &ring_, 0);
    if (failed < 0) return Error{-failed, "cannot create an io_uring"};
    ring_ready_ = true;
    return {};
  }

  [[nodiscard]] uint64_t blocks() const override { return opened_.bytes / kBlockBytes; }
  [[nodiscard]] bool must_not_fail() const override { return true; }

  [[nodiscard]] Result<void> Submit(std::span<const Request> requests) override {
    for (const Request& request : requests) Prepare(request);
    int submitted = 0;
    do {
      submitted = io_uring_submit(&ring_);
    } while (submitted == -EINTR);
    if (submitted < 0) return Error{-submitted, "cannot submit to the io_uring"};
    return {};
  }

  [[nodiscard]] Result<void> Wait(int timeout_ms, std::vector<Completion>& done) override {
    __kernel_timespec limit{.tv_sec = timeout_ms / 1000,
                            .tv_nsec = timeout_ms % 1000 * 1'000'000LL};
    io_uring_cqe* first = nullptr;
    const int failed = io_uring_wait_cqe_timeout(&ring_, &first, &limit);
    if (failed == -ETIME || failed == -EINTR) return {};
    if (failed < 0) return Error{-failed, "cannot wait for the io_uring"};
    std::array<io_uring_cqe*, 128> batch;
    const unsigned count =
        io_uring_peek_batch_cqe(&ring_, batch.data(), static_cast<unsigned>(batch.size()));
    for (unsigned i = 0; i < count; ++i) Finish(*batch[i], done);
    io_uring_cq_advance(&ring_, count);
    return {};
  }

 private:
  // Each request is kept until its completion: a discard may have to be done again another way.
  void Prepare(const Request& request) {
    slots_[request.slot] = request;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    WEIR_CHECK(sqe != nullptr);
    const int fd = opened_.fd.get();
    const uint64_t offset = request.first_block * kBlockBytes;
    const uint32_t bytes = request.block_count * kBlockBytes;
    switch (request.op) {
      case Op::kRead:
        io_uring_prep_read(sqe, fd, request.data, bytes, offset);
        break;
      case Op::kWrite:
        io_uring_prep_write(sqe, fd, request.data, bytes, offset);
        if (request.fua) sqe->rw_flags = RWF_DSYNC;
        break;
      case Op::kTrim:
        PrepareTrim(*sqe, offset, bytes);
        break;
      case Op::kZero:
        PrepareFallocate(*sqe, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, bytes);
        break;
      case Op::kFlush:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
    }
    sqe->user_data = request.slot;
  }

  void PrepareFallocate(io_uring_sqe& sqe, int mode, uint64_t offset, uint32_t bytes) {
    io_uring_prep_fallocate(&sqe, opened_.fd.get(), mode, static_cast<off_t>(offset), bytes);
  }

  void PrepareTrim(io_uring_sqe& sqe, uint64_t offset, uint32_t bytes) {
    if (!opened_.is_block_device) {
      PrepareFallocate(sqe, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
      return;
    }
    io_uring_prep_rw(IORING_OP_URING_CMD, &sqe, opened_.fd.get(), nullptr, 0, 0);
    sqe.cmd_op = kUringDiscard;
    sqe.addr = offset;
    sqe.addr3 = bytes;
  }

  void Finish(const io_uring_cqe& cqe, std::vector<Completion>& done) {
    const Request& request = slots_[cqe.user_data];
    int32_t result = cqe.res;
    // Kernels before 6.12 discard through the ioctl alone, which blocks this thread meanwhile.
    if (request.op == Op::kTrim && result == -EOPNOTSUPP) result = DiscardNow(request);
    if (request.op == Op::kRead || request.op == Op::kWrite) {
      const auto wanted = static_cast<int32_t>(request.block_count * kBlockBytes);
      if (result >= 0) result = result == wanted ? 0 : -EIO;
    }
    done.push_back({request.slot, result});
  }

  [[nodiscard]] int32_t DiscardNow(const Request& request) const noexcept {
    std::array<uint64_t, 2> range = {request.first_block * kBlockBytes,
                                     uint64_t{request.block_count} * kBlockBytes};
    return ::ioctl(opened_.fd.get(), BLKDISCARD, range.data()) == 0 ? 0 : -errno;
  }

  Opened opened_;
  std::vector<Request> slots_;
  io_uring ring_{};
  bool ring_ready_ = false;
};

Result<Opened> OpenPath(const std::string& path) {
  Opened opened{.fd = UniqueFd(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC))};
  if (!opened.fd.valid()) return Error{errno, "cannot open the device"};
  struct stat status {};
  if (::fstat(opened.fd.get(), &status) != 0) return Error{errno, "cannot examine the device"};
  opened.is_block_device = S_ISBLK(status.st_mode);
  opened.bytes = static_cast<uint64_t>(status.st_size);
  if (opened.is_block_device && ::ioctl(opened.fd.get(), BLKGETSIZE64, &opened.bytes) != 0) {
    return Error{errno, "cannot read the size of the device"};
  }
  return opened;
}

}  // namespace

Result<std::unique_ptr<Target>> OpenDeviceTarget(const DeviceOptions& options) {
  auto opened = OpenPath(options.path);
  if (!opened.ok()) return opened.error();
  auto target = std::make_unique<DeviceTarget>(std::move(opened.value()), options.depth);
  if (auto started = target->Start(); !started.ok()) return started.error();
  return std::unique_ptr<Target>(std::move(target));
}

}  // namespace weir::oracle
