// One end of the SEQPACKET connection between two engines of a node: whole messages with
// descriptors, and who is at the other end.
//
// Thread: Send() and Receive() from any threads; whole messages never mix. Ownership: the object
// owns the socket and, until a caller takes them, the descriptors of received messages.
// Crash: the other end sees the close.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"

namespace weir {

struct HandoffMessage {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};

class HandoffSocket {
 public:
  static constexpr size_t kMessageBytesMax = 64U << 10;
  static constexpr size_t kFdsMax = 250;

  // ENOENT, ECONNREFUSED: nobody listens there.
  static Result<std::unique_ptr<HandoffSocket>> Connect(const std::string& path);
  // Takes a connected socket. EPERM: the other end runs as another user.
  static Result<std::unique_ptr<HandoffSocket>> Own(UniqueFd socket);
  // Two connected ends (tests).
  static std::pair<std::unique_ptr<HandoffSocket>, std::unique_ptr<HandoffSocket>> Pair();

  // One message, or an error: ETIMEDOUT at `until_ns` (CLOCK_MONOTONIC), EPIPE when the other end
  // is gone. REQUIRES at most kMessageBytesMax and kFdsMax.
  Result<void> Send(std::span<const std::byte> bytes, std::span<const int> fds, uint64_t until_ns);
  // ECONNRESET when the other end is gone, ETIMEDOUT at `until_ns`.
  Result<HandoffMessage> Receive(uint64_t until_ns);
  // Waits for a message and looks at its first byte, leaving it there. Errors as Receive().
  Result<std::byte> Peek(uint64_t until_ns);
  // Ends every wait of this and the other end.
  void Shutdown();

  [[nodiscard]] pid_t peer_pid() const noexcept { return peer_pid_; }
  [[nodiscard]] uid_t peer_uid() const noexcept { return peer_uid_; }
  // By a pidfd taken at connect time, so a pid that is used again is never meant.
  [[nodiscard]] bool peer_alive() const noexcept;
  // SIGKILL, then waits until it is gone. EINVAL: it runs in a pid namespace out of reach.
  Result<void> KillPeer(uint64_t until_ns);
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }

 private:
  HandoffSocket() = default;
  Result<void> LearnPeer();

  UniqueFd socket_;
  UniqueFd peer_pidfd_;
  pid_t peer_pid_ = 0;
  uid_t peer_uid_ = 0;
};

class HandoffListener {
 public:
  // Puts the socket at `path` by rename, over one that is there; mode 0600. It is never removed, as
  // that could hit a successor's: connecting to a former engine's is refused, which says the same.
  static Result<std::unique_ptr<HandoffListener>> Listen(const std::string& path);
  ~HandoffListener();
  // The next connection of our own user; ECANCELED after Stop().
  Result<std::unique_ptr<HandoffSocket>> Accept();
  // Any thread: ends Accept().
  void Stop();

 private:
  HandoffListener() = default;
  UniqueFd socket_;
};

}  // namespace weir
