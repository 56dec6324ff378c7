#include "engine/ublk/ublk_char_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "engine/base/check.h"
#include "engine/ublk/ublk_nodes.h"

namespace weir {
namespace {

constexpr uint16_t kQueue = 0;  // One queue: a volume has one thread.

}  // namespace

Result<std::unique_ptr<UblkCharDevice>> UblkCharDevice::Open(uint32_t device_id,
                                                             uint16_t queue_depth,
                                                             uint64_t deadline_ns) {
  WEIR_CHECK(queue_depth > 0 && queue_depth <= ublk::kQueueDepthMax);
  Result<UniqueFd> fd = OpenUblkCharNode(device_id, deadline_ns);
  if (!fd.ok()) return fd.error();
  const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t bytes = queue_depth * sizeof(ublk::IoDescriptor);
  const size_t mapped_bytes = (bytes + page_bytes - 1) / page_bytes * page_bytes;
  void* mapped =
      ::mmap(nullptr, mapped_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd.value().get(), 0);
  if (mapped == MAP_FAILED) return Error{errno, "cannot map the descriptors of the ublk device"};
  return std::unique_ptr<UblkCharDevice>(new UblkCharDevice(
      std::move(fd.value()), static_cast<const ublk::IoDescriptor*>(mapped), mapped_bytes));
}

UblkCharDevice::~UblkCharDevice() {
  ::munmap(const_cast<ublk::IoDescriptor*>(descriptors_), mapped_bytes_);
}

void UblkCharDevice::Command(Loop& loop, Completion* owner, uint32_t op, uint16_t tag,
                             int32_t result) {
  io_uring_sqe* sqe = loop.Sqe(owner);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = fd_.get();
  sqe->cmd_op = op;
  const ublk::IoCommand command{kQueue, tag, result, 0};
  std::memcpy(sqe->cmd, &command, sizeof(command));
}

ublk::IoDescriptor UblkCharDevice::Descriptor(uint16_t tag) const { return descriptors_[tag]; }

bool UblkCharDevice::CopyFromRequest(uint16_t tag, std::byte* to, uint32_t bytes) {
  const auto offset = static_cast<off_t>(ublk::UserCopyOffset(kQueue, tag));
  return ::pread(fd_.get(), to, bytes, offset) == static_cast<ssize_t>(bytes);
}

bool UblkCharDevice::CopyToRequest(uint16_t tag, const std::byte* from, uint32_t bytes) {
  const auto offset = static_cast<off_t>(ublk::UserCopyOffset(kQueue, tag));
  return ::pwrite(fd_.get(), from, bytes, offset) == static_cast<ssize_t>(bytes);
}

}  // namespace weir
