#include "engine/handoff/handoff_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/monotonic_clock.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5
#endif

namespace weir {
namespace {

constexpr int kBacklog = 8;

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{ENAMETOOLONG, "cannot use the handoff socket: choose a shorter run folder"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// 0: ready; else ETIMEDOUT. A socket that was closed is ready: the call that follows tells.
int WaitFor(int fd, short events, uint64_t until_ns) {
  for (;;) {
    const uint64_t now_ns = MonotonicNs();
    const uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const timespec limit{static_cast<time_t>(left_ns / 1'000'000'000ULL),
                         static_cast<long>(left_ns % 1'000'000'000ULL)};
    pollfd wait{fd, events, 0};
    const int ready = ::ppoll(&wait, 1, &limit, nullptr);
    if (ready > 0) return 0;
    if (ready == 0) return ETIMEDOUT;
    if (errno != EINTR) return errno;
  }
}

// The control part of a message with as many descriptors as may come.
union ControlBuffer {
  cmsghdr align;
  std::array<char, CMSG_SPACE(sizeof(int) * HandoffSocket::kFdsMax)> bytes;
};

std::vector<UniqueFd> TakeFds(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t at = 0; at < count; ++at) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + at * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return fds;
}

}  // namespace

Result<std::unique_ptr<HandoffSocket>> HandoffSocket::Connect(const std::string& path) {
  const auto address = AddressOf(path);
  if (!address.ok()) return address.error();
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Error{errno, "cannot create the handoff socket"};
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.value()),
                sizeof(sockaddr_un)) != 0) {
    return Error{errno, "no engine listens on the handoff socket"};
  }
  return Own(std::move(fd));
}

Result<std::unique_ptr<HandoffSocket>> HandoffSocket::Own(UniqueFd socket) {
  auto owned = std::unique_ptr<HandoffSocket>(new HandoffSocket());
  owned->socket_ = std::move(socket);
  if (const auto learned = owned->LearnPeer(); !learned.ok()) return learned.error();
  return owned;
}

std::pair<std::unique_ptr<HandoffSocket>, std::unique_ptr<HandoffSocket>> HandoffSocket::Pair() {
  std::array<int, 2> fds{};
  WEIR_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) == 0);
  auto first = Own(UniqueFd(fds[0]));
  auto second = Own(UniqueFd(fds[1]));
  WEIR_CHECK(first.ok() && second.ok());
  return {std::move(first.value()), std::move(second.value())};
}

Result<void> HandoffSocket::LearnPeer() {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return Error{errno, "cannot learn who is at the other end of the handoff socket"};
  }
  if (peer.uid != ::geteuid()) {
    return Error{EPERM, "the other end of the handoff socket runs as another user"};
  }
  peer_pid_ = peer.pid;
  peer_uid_ = peer.uid;
  int pidfd = -1;
  length = sizeof(pidfd);
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) != 0) {
    pidfd = peer.pid == 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0));
  }
  peer_pidfd_ = UniqueFd(pidfd);
  return {};
}

Result<void> HandoffSocket::Send(std::span<const std::byte> bytes, std::span<const int> fds,
                                 uint64_t until_ns) {
  WEIR_CHECK(bytes.size() <= kMessageBytesMax && fds.size() <= kFdsMax);
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control{};
  if (!fds.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size())) return {};
    if (sent >= 0 || (errno != EAGAIN && errno != EINTR)) {
      return Error{sent >= 0 ? EMSGSIZE : errno, "cannot send to the other engine"};
    }
    const int waited = WaitFor(socket_.get(), POLLOUT, until_ns);
    if (waited != 0) return Error{waited, "the other engine does not read its messages"};
  }
}

Result<HandoffMessage> HandoffSocket::Receive(uint64_t until_ns) {
  HandoffMessage received;
  received.bytes.resize(kMessageBytesMax);
  for (;;) {
    iovec part{received.bytes.data(), received.bytes.size()};
    ControlBuffer control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got > 0) {
      received.fds = TakeFds(message);
      if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return Error{EMSGSIZE, "the other engine sent more than a message may hold"};
      }
      received.bytes.resize(static_cast<size_t>(got));
      return received;
    }
    if (got == 0) return Error{ECONNRESET, "the other engine closed the connection"};
    if (errno != EAGAIN && errno != EINTR) {
      return Error{ECONNRESET, "the connection to the other engine broke"};
    }
    const int waited = WaitFor(socket_.get(), POLLIN, until_ns);
    if (waited != 0) return Error{waited, "the other engine did not answer in time"};
  }
}

Result<std::byte> HandoffSocket::Peek(uint64_t until_ns) {
  for (;;) {
    std::byte first{};
    const ssize_t got = ::recv(socket_.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got > 0) return first;
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      return Error{ECONNRESET, "the other engine closed the connection"};
    }
    const int waited = WaitFor(socket_.get(), POLLIN, until_ns);
    if (waited != 0) return Error{waited, "the other engine did not answer in time"};
  }
}

void HandoffSocket::Shutdown() { ::shutdown(socket_.get(), SHUT_RDWR); }

bool HandoffSocket::peer_alive() const noexcept {
  pollfd wait{peer_pidfd_.get(), POLLIN, 0};
  return peer_pidfd_.valid() && ::poll(&wait, 1, 0) == 0;
}

Result<void> HandoffSocket::KillPeer(uint64_t until_ns) {
  if (!peer_pidfd_.valid()) return Error{ESRCH, "the other engine's process is not known"};
  if (::syscall(SYS_pidfd_send_signal, peer_pidfd_.get(), SIGKILL, nullptr, 0) != 0 &&
      errno != ESRCH) {
    return Error{errno, "cannot end the other engine's process"};
  }
  const int waited = WaitFor(peer_pidfd_.get(), POLLIN, until_ns);
  if (waited != 0) return Error{waited, "the other engine's process does not end"};
  return {};
}

Result<std::unique_ptr<HandoffListener>> HandoffListener::Listen(const std::string& path) {
  const std::string hidden = path + "." + std::to_string(::getpid());
  const auto address = AddressOf(hidden);
  if (!address.ok()) return address.error();
  auto listener = std::unique_ptr<HandoffListener>(new HandoffListener());
  listener->socket_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener->socket_.valid()) return Error{errno, "cannot create the handoff socket"};
  ::unlink(hidden.c_str());
  if (::bind(listener->socket_.get(), reinterpret_cast<const sockaddr*>(&address.value()),
             sizeof(sockaddr_un)) != 0) {
    return Error{errno, "cannot bind the handoff socket: its folder must exist and be writable"};
  }
  if (::chmod(hidden.c_str(), 0600) != 0 || ::listen(listener->socket_.get(), kBacklog) != 0 ||
      ::rename(hidden.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(hidden.c_str());
    return Error{code, "cannot put the handoff socket at its path"};
  }
  return listener;
}

HandoffListener::~HandoffListener() { Stop(); }

Result<std::unique_ptr<HandoffSocket>> HandoffListener::Accept() {
  for (;;) {
    const int fd = ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      auto owned = HandoffSocket::Own(UniqueFd(fd));
      if (owned.ok()) return owned;
      continue;  // Of another user, or gone already.
    }
    if (errno == EINVAL) return Error{ECANCELED, "the handoff socket was closed"};
    if (errno != EINTR && errno != ECONNABORTED) {
      return Error{errno, "cannot accept on the handoff socket"};
    }
  }
}

void HandoffListener::Stop() {
  if (socket_.valid()) ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace weir
