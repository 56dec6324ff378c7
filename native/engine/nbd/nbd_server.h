// Serves one block device to NBD clients over a unix socket, on the volume's loop.
//
// Thread: the loop thread, or any before Loop::Run().
// The socket appears at its path by rename, so a stale socket, or that of a predecessor that goes
// on serving its clients, is replaced without a moment in which connecting fails.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/loop/loop.h"
#include "engine/volume/block_device.h"

namespace weir {

struct NbdConfig {
  std::string socket_path;
  std::string export_name;  // clients may also ask for the empty name
};

// A server's clients on their way to another process. The descriptors stay the server's own.
struct NbdHandover {
  int listening_fd = -1;
  std::vector<int> connection_fds;
  std::vector<std::byte> state;  // of the connections, in the same order (nbd_handover_state.h)
};

class NbdServer {
 public:
  static constexpr size_t kConnectionsMax = 64;

  // Begins to accept in the loop's next round. `loop` and `device` must outlive the server.
  static Result<std::unique_ptr<NbdServer>> Listen(Loop& loop, BlockDevice& device,
                                                   NbdConfig config);
  // Goes on with the clients of another server, whose descriptors these are: the listening one,
  // then those of the connections. EBADMSG: `state` does not fit them.
  static Result<std::unique_ptr<NbdServer>> Take(Loop& loop, BlockDevice& device, NbdConfig config,
                                                 std::vector<UniqueFd> fds,
                                                 std::span<const std::byte> state);
  // REQUIRES that Close() has called back, or that the loop was destroyed: then clients are cut.
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Takes no more connections and requests, answers what is in the device, then closes every
  // connection and calls `done`. A client that does not read its replies is cut off after a second;
  // the device must answer for `done` to come.
  void Close(std::function<void()> done);
  [[nodiscard]] size_t connections() const noexcept;

  // Accepts, receives and sends no more; `done` when nothing of it is on the ring or in the device.
  // Requests that the device gives back (kGivenBack) stay with their connections.
  void Freeze(std::function<void()> done);
  // After `done`: goes on as if nothing had been.
  void Thaw();
  // After `done`.
  [[nodiscard]] NbdHandover Give() const;
  // Another process has the clients: the destructor may run, and closes only its own descriptors.
  void LetGo();

 private:
  class Impl;
  explicit NbdServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir
