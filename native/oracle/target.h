// A block device under test: an NBD server or a device node. One thread; many requests outstanding.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "oracle/log_format.h"

namespace weir::oracle {

// A request's `data` belongs to the caller and stays in place until the completion.
struct Request {
  Op op = Op::kRead;
  bool fua = false;
  uint64_t first_block = 0;
  uint32_t block_count = 0;
  std::byte* data = nullptr;  // of reads and writes
  uint32_t slot = 0;          // names the request among the outstanding ones
};

struct Completion {
  uint32_t slot = 0;
  int32_t result = 0;  // 0, or a negative errno
};

// The errno of an Error that says that the server went away.
inline constexpr int kTargetGone = 107;  // ENOTCONN

class Target {
 public:
  virtual ~Target() = default;
  [[nodiscard]] virtual uint64_t blocks() const = 0;
  // Whether a failed request is a finding: a device must wait for its server and never fail.
  [[nodiscard]] virtual bool must_not_fail() const = 0;
  [[nodiscard]] virtual Result<void> Submit(std::span<const Request> requests) = 0;
  // Waits up to `timeout_ms` for completions and appends them; none is no error.
  [[nodiscard]] virtual Result<void> Wait(int timeout_ms, std::vector<Completion>& done) = 0;
};

struct TargetOptions {
  std::string address;  // "nbd:SOCKET[#EXPORT]" or "dev:PATH"
  uint32_t depth = 32;  // requests outstanding at most; slots are below this
  uint32_t connect_seconds = 10;
};

[[nodiscard]] Result<std::unique_ptr<Target>> OpenTarget(const TargetOptions& options);

// One request, nothing else outstanding; a failed request is an Error.
[[nodiscard]] Result<void> Perform(Target& target, const Request& request);

}  // namespace weir::oracle
