// Device nodes of ublk. In a container /dev is often a plain tmpfs in which no node of a new device
// appears, so a missing node is made from what sysfs says.
//
// Thread: any but a loop thread: opening waits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace weir {

// ENODEV: the ublk_drv module is not loaded.
Result<UniqueFd> OpenUblkControlNode();
// What its open's errno means. ENOENT is never passed on: to callers it is a volume that is absent.
[[nodiscard]] Error NoUblkControl(int open_errno);
// Waits up to `deadline_ns` for the device to appear and for the process that had it to let go of
// it.
Result<UniqueFd> OpenUblkCharNode(uint32_t device_id, uint64_t deadline_ns);
// Makes /dev/ublkbN if it is absent and returns the path. The device must have been started.
Result<std::string> EnsureUblkBlockNode(uint32_t device_id, uint64_t deadline_ns);
// Numbers of all ublk devices of this machine, whoever serves them.
[[nodiscard]] std::vector<uint32_t> ListUblkDevices();

}  // namespace weir
