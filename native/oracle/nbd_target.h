// An NBD export as a target.
#pragma once

#include <memory>

#include "oracle/nbd_handshake.h"
#include "oracle/target.h"

namespace weir::oracle {

[[nodiscard]] Result<std::unique_ptr<Target>> OpenNbdTarget(const NbdConnectOptions& options);

}  // namespace weir::oracle
