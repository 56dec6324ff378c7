// Choosing a target by its address.
#include "oracle/target.h"

#include <cerrno>
#include <string_view>

#include "oracle/device_target.h"
#include "oracle/nbd_target.h"

namespace weir::oracle {
namespace {

constexpr int kWaitMs = 1000;
constexpr int kPerformSeconds = 300;

}  // namespace

Result<std::unique_ptr<Target>> OpenTarget(const TargetOptions& options) {
  const std::string_view address = options.address;
  if (address.starts_with("nbd:")) {
    const std::string_view rest = address.substr(4);
    const size_t hash = rest.find('#');
    const auto name = hash == rest.npos ? std::string_view() : rest.substr(hash + 1);
    return OpenNbdTarget({.socket = std::string(rest.substr(0, hash)),
                          .export_name = std::string(name),
                          .depth = options.depth,
                          .connect_seconds = options.connect_seconds});
  }
  if (address.starts_with("dev:")) {
    return OpenDeviceTarget({.path = std::string(address.substr(4)), .depth = options.depth});
  }
  return Error{EINVAL, "a target is nbd:SOCKET, nbd:SOCKET#EXPORT or dev:PATH"};
}

Result<void> Perform(Target& target, const Request& request) {
  if (auto sent = target.Submit({&request, 1}); !sent.ok()) return sent;
  std::vector<Completion> done;
  for (int waited = 0; waited < kPerformSeconds * 1000; waited += kWaitMs) {
    if (auto result = target.Wait(kWaitMs, done); !result.ok()) return result;
    if (done.empty()) continue;
    if (done[0].result != 0) return Error{-done[0].result, "the target failed a request"};
    return {};
  }
  return Error{ETIMEDOUT, "the target did not answer a request"};
}

}  // namespace weir::oracle
