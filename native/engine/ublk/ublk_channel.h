// The border between a ublk queue and the kernel: the commands of its tags, the descriptors of
// their requests, and the copying of their data. A port, so that tests can stand in for the kernel.
//
// Thread: the loop thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/loop/loop.h"
#include "engine/ublk/ublk_uapi.h"

namespace weir {

class UblkChannel {
 public:
  virtual ~UblkChannel() = default;

  // Queues FETCH or COMMIT_AND_FETCH of `tag`. `owner` completes with 0 when the tag has a request,
  // with a negative errno when it never will again.
  virtual void Command(Loop& loop, Completion* owner, uint32_t op, uint16_t tag,
                       int32_t result) = 0;
  // What the request of `tag` asks for; REQUIRES that it was delivered and not yet committed.
  [[nodiscard]] virtual ublk::IoDescriptor Descriptor(uint16_t tag) const = 0;
  // The data of a write into `to`, the data of a read from `from`. False: not all bytes went over.
  virtual bool CopyFromRequest(uint16_t tag, std::byte* to, uint32_t bytes) = 0;
  virtual bool CopyToRequest(uint16_t tag, const std::byte* from, uint32_t bytes) = 0;
};

}  // namespace weir
