// The blocking part of the NBD client.
#include "oracle/nbd_handshake.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>
#include <thread>
#include <vector>

#include "oracle/nbd_wire.h"

namespace weir::oracle {
namespace {

using Clock = std::chrono::steady_clock;
using nbd::Big;

constexpr auto kRetryEvery = std::chrono::milliseconds(20);
constexpr time_t kHandshakeSeconds = 10;
constexpr size_t kReplyBytesMax = 64 * 1024;

Result<UniqueFd> ConnectOnce(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Error{ENAMETOOLONG, "the path of the socket is too long"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Error{errno, "cannot create a socket"};
  const timeval limit{.tv_sec = kHandshakeSeconds, .tv_usec = 0};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) {
    return Error{errno, "cannot set a deadline on the socket"};
  }
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Error{errno, "cannot connect to the NBD server"};
  }
  return fd;
}

Result<void> SendAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Error{ENOTCONN, "the NBD server closed the negotiation"};
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return {};
}

Result<void> ReceiveAll(int fd, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Error{ETIMEDOUT, "the NBD server does not negotiate"};
    if (got <= 0) return Error{ENOTCONN, "the NBD server closed the negotiation"};
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

template <typename T>
std::span<std::byte> BytesOf(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

Result<void> Greet(int fd) {
  nbd::Greeting greeting;
  if (auto got = ReceiveAll(fd, BytesOf(greeting)); !got.ok()) return got;
  if (Big<uint64_t>(greeting.magic) != nbd::kServerMagic ||
      Big<uint64_t>(greeting.option_magic) != nbd::kOptionMagic ||
      (Big<uint16_t>(greeting.flags) & nbd::kServerFixedNewstyle) == 0) {
    return Error{EPROTO, "the socket is not one of a fixed-newstyle NBD server"};
  }
  uint32_t flags = Big(nbd::kClientFixedNewstyleNoZeroes);
  return SendAll(fd, BytesOf(flags));
}

Result<void> SendGo(int fd, const std::string& name) {
  const auto name_bytes = static_cast<uint32_t>(name.size());
  std::vector<std::byte> message(sizeof(nbd::OptionHeader) + 4 + name.size() + 2);
  const nbd::OptionHeader header{.magic = Big(nbd::kOptionMagic),
                                 .option = Big(nbd::kOptionGo),
                                 .bytes = Big<uint32_t>(name_bytes + 6)};
  const uint32_t length = Big(name_bytes);
  std::memcpy(message.data(), &header, sizeof(header));
  std::memcpy(message.data() + sizeof(header), &length, sizeof(length));
  std::memcpy(message.data() + sizeof(header) + sizeof(length), name.data(), name.size());
  return SendAll(fd, message);
}

Result<void> ReceiveExport(NbdExport& result) {
  const int fd = result.socket.get();
  bool known = false;
  for (;;) {
    nbd::OptionReply reply;
    if (auto got = ReceiveAll(fd, BytesOf(reply)); !got.ok()) return got;
    const auto kind = Big<uint32_t>(reply.kind);
    const auto bytes = Big<uint32_t>(reply.bytes);
    if (Big<uint64_t>(reply.magic) != nbd::kOptionReplyMagic || bytes > kReplyBytesMax) {
      return Error{EPROTO, "the NBD server answered the negotiation with something else"};
    }
    std::vector<std::byte> body(bytes);
    if (auto got = ReceiveAll(fd, body); !got.ok()) return got;
    if ((kind & nbd::kReplyErrorBit) != 0) {
      return Error{EACCES, "the NBD server refuses the export"};
    }
    if (kind == nbd::kReplyAck) break;
    nbd::ExportInfo info;
    if (kind != nbd::kReplyInfo || body.size() != sizeof(info)) continue;
    std::memcpy(&info, body.data(), sizeof(info));
    if (Big<uint16_t>(info.kind) != nbd::kInfoExport) continue;
    result.size_bytes = Big<uint64_t>(info.size_bytes);
    result.flags = Big<uint16_t>(info.flags);
    known = true;
  }
  if (!known) return Error{EPROTO, "the NBD server did not say the size of the export"};
  return {};
}

Result<NbdExport> TryOnce(const NbdConnectOptions& options) {
  auto socket = ConnectOnce(options.socket);
  if (!socket.ok()) return socket.error();
  NbdExport result{.socket = std::move(socket.value())};
  const int fd = result.socket.get();
  if (auto greeted = Greet(fd); !greeted.ok()) return greeted.error();
  if (auto sent = SendGo(fd, options.export_name); !sent.ok()) return sent.error();
  if (auto got = ReceiveExport(result); !got.ok()) return got.error();
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return Error{errno, "cannot unblock the socket"};
  return result;
}

}  // namespace

Result<NbdExport> ConnectNbd(const NbdConnectOptions& options) {
  const auto deadline = Clock::now() + std::chrono::seconds(options.connect_seconds);
  for (;;) {
    auto result = TryOnce(options);
    if (result.ok() || Clock::now() >= deadline) return result;
    const int code = result.error().code;
    const bool may_come = code == ENOENT || code == ECONNREFUSED || code == ENOTCONN;
    if (!may_come) return result;
    std::this_thread::sleep_for(kRetryEvery);
  }
}

}  // namespace weir::oracle
