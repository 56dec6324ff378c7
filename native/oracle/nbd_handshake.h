// Connecting to an NBD server on a unix socket and negotiating one export.
#pragma once

#include <string>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace weir::oracle {

struct NbdExport {
  UniqueFd socket;
  uint64_t size_bytes = 0;
  uint16_t flags = 0;  // nbd::kSends*
};

struct NbdConnectOptions {
  std::string socket;
  std::string export_name;
  uint32_t depth = 32;
  uint32_t connect_seconds = 10;  // how long to try while nobody listens
};

// Blocks until the export is ready; the socket is non-blocking afterwards.
[[nodiscard]] Result<NbdExport> ConnectNbd(const NbdConnectOptions& options);

}  // namespace weir::oracle
