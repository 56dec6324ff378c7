// Serves one block device to NBD clients over a unix socket, on the volume's loop.
//
// Thread: the loop thread, or any before Loop::Run().
// The socket appears at its path by rename, so a stale socket, or that of a predecessor that goes
// on serving its clients, is replaced without a moment in which connecting fails.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/loop/loop.h"
#include "engine/volume/block_device.h"

namespace weir {

struct NbdConfig {
  std::string socket_path;
  std::string export_name;  // clients may also ask for the empty name
};

class NbdServer {
 public:
  static constexpr size_t kConnectionsMax = 64;

  // Begins to accept in the loop's next round. `loop` and `device` must outlive the server.
  static Result<std::unique_ptr<NbdServer>> Listen(Loop& loop, BlockDevice& device,
                                                   NbdConfig config);
  // REQUIRES that Close() has called back, or that the loop was destroyed: then clients are cut.
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Takes no more connections and requests, answers what is in the device, then closes every
  // connection and calls `done`. A client that does not read its replies is cut off after a second;
  // the device must answer for `done` to come.
  void Close(std::function<void()> done);
  [[nodiscard]] size_t connections() const noexcept;

 private:
  class Impl;
  explicit NbdServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
