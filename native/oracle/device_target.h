// A block device node (or, for tests, a regular file) as a target, through io_uring and O_DIRECT.
// While the device's server is dead its requests wait, and so does the oracle.
#pragma once

#include <memory>
#include <string>

#include "oracle/target.h"

namespace weir::oracle {

struct DeviceOptions {
  std::string path;
  uint32_t depth = 32;
};

[[nodiscard]] Result<std::unique_ptr<Target>> OpenDeviceTarget(const DeviceOptions& options);

}  // namespace weir::oracle
