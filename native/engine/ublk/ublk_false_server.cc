#include "engine/ublk/ublk_false_server.h"

#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "engine/base/unique_fd.h"
#include "engine/ublk/ublk_nodes.h"
#include "engine/ublk/ublk_uapi.h"

namespace weir {
namespace {

// All in one system call: a process that dies then has fetched either no tag or all.
int FetchAll(io_uring& ring, int fd, uint16_t queue_depth) {
  for (uint16_t tag = 0; tag < queue_depth; ++tag) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    if (sqe == nullptr) return -ENOSPC;
    std::memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = fd;
    sqe->cmd_op = ublk::kFetch;
    const ublk::IoCommand command{0, tag, 0, 0};
    std::memcpy(sqe->cmd, &command, sizeof(command));
  }
  return io_uring_submit(&ring);
}

}  // namespace

Result<void> ServeUblkFalsely(uint32_t device_id, uint16_t queue_depth) {
  auto opened = OpenUblkCharNode(device_id, 0);
  if (!opened.ok()) return opened.error();
  const UniqueFd fd = std::move(opened.value());
  io_uring ring{};
  if (const int made = io_uring_queue_init(queue_depth, &ring, 0); made < 0) {
    return Error{-made, "cannot create an io_uring to free a ublk device"};
  }
  int submitted = 0;
  // The driver cancels safely only what belongs to a thread that has ended, so in this order.
  std::thread([&] { submitted = FetchAll(ring, fd.get(), queue_depth); }).join();
  io_uring_queue_exit(&ring);
  if (submitted != queue_depth) {
    return Error{submitted < 0 ? -submitted : EIO, "cannot fetch from a ublk device to free it"};
  }
  return {};
}

}  // namespace weir
