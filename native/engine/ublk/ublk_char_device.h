// /dev/ublkcN with the mapping of its descriptors: the real UblkChannel.
//
// Thread: Open() and the destructor on any but the loop thread (opening waits), the rest on the
// loop
//   thread. Only one process can have it open; closing is what lets the next one in.
// REQUIRES at destruction: on Linux before 6.16 the ring that carried its commands is closed; on
//   later kernels that, or all tags were aborted.
#pragma once

#include <memory>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/ublk/ublk_channel.h"

namespace weir {

class UblkCharDevice final : public UblkChannel {
 public:
  // Waits up to `deadline_ns` for the node and for a former server to let go.
  static Result<std::unique_ptr<UblkCharDevice>> Open(uint32_t device_id, uint16_t queue_depth,
                                                      uint64_t deadline_ns);
  ~UblkCharDevice() override;
  UblkCharDevice(const UblkCharDevice&) = delete;
  UblkCharDevice& operator=(const UblkCharDevice&) = delete;

  void Command(Loop& loop, Completion* owner, uint32_t op, uint16_t tag, int32_t result) override;
  [[nodiscard]] ublk::IoDescriptor Descriptor(uint16_t tag) const override;
  bool CopyFromRequest(uint16_t tag, std::byte* to, uint32_t bytes) override;
  bool CopyToRequest(uint16_t tag, const std::byte* from, uint32_t bytes) override;

 private:
  UblkCharDevice(UniqueFd fd, const ublk::IoDescriptor* descriptors, size_t mapped_bytes) noexcept
      : fd_(std::move(fd)), descriptors_(descriptors), mapped_bytes_(mapped_bytes) {}

  UniqueFd fd_;  // Closed after the mapping went: each of the two keeps the next server out.
  const ublk::IoDescriptor* descriptors_;
  size_t mapped_bytes_;
};

}  // namespace weir
