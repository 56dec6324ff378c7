#include "engine/nbd/nbd_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/unique_fd.h"
#include "engine/loop/member_completion.h"
#include "engine/nbd/nbd_connection.h"
#include "engine/nbd/nbd_handover_state.h"

namespace weir {
namespace {

constexpr int kBacklog = 128;
constexpr uint64_t kNegotiationNsMax = 30'000'000'000ULL;
constexpr uint64_t kDrainNsMax = 1'000'000'000ULL;
constexpr uint64_t kAcceptRetryNs = 100'000'000ULL;

// Which file a path names; says whether it is still the socket that this server bound.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

Result<FileIdentity> IdentityOf(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return Error{errno, "cannot find the NBD socket"};
  return FileIdentity{status.st_dev, status.st_ino};
}

// The name under which a socket is bound before it is renamed to `path`: same folder, hidden, and
// different for each process.
std::string HiddenName(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t base = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, base) + "." + std::to_string(::getpid()) + "." + path.substr(base);
}

struct BoundSocket {
  UniqueFd fd;
  FileIdentity identity;
};

Result<BoundSocket> BindByRename(const std::string& path) {
  const std::string hidden = HiddenName(path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (hidden.size() >= sizeof(address.sun_path)) {
    return Error{ENAMETOOLONG, "cannot bind the NBD socket: choose a path below 90 characters"};
  }
  std::memcpy(address.sun_path, hidden.data(), hidden.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Error{errno, "cannot create the NBD socket"};
  ::unlink(hidden.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Error{errno, "cannot bind the NBD socket: its folder must exist and be writable"};
  }
  // Nobody can connect before listen(), so the mode is right from the first connection on.
  if (::chmod(hidden.c_str(), 0600) != 0 || ::listen(fd.get(), kBacklog) != 0 ||
      ::rename(hidden.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(hidden.c_str());
    return Error{code, "cannot put the NBD socket at its path"};
  }
  Result<FileIdentity> identity = IdentityOf(path);
  if (!identity.ok()) return identity.error();
  return BoundSocket{std::move(fd), identity.value()};
}

}  // namespace

class NbdServer::Impl final : public RoundEnd {
 public:
  Impl(Loop& loop, BlockDevice& device, NbdConfig config, BoundSocket socket)
      : shared_{loop, device, std::move(config.export_name), {}, {}},
        socket_path_(std::move(config.socket_path)),
        socket_(std::move(socket)) {
    loop.AddRoundEnd(Loop::RoundOrder::kReply, this);
    ArmAccept();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void Close(std::function<void()> done);
  void Freeze(std::function<void()> done);
  void Thaw();
  [[nodiscard]] NbdHandover Give() const;
  void LetGo();
  void Resume(UniqueFd socket, const NbdConnection::Handover& handover);
  void OnRoundEnd() override;
  [[nodiscard]] size_t connections() const noexcept { return connections_.size(); }

 private:
  struct Client {
    uint64_t accepted_ns = 0;
    std::unique_ptr<NbdConnection> connection;
  };

  void OnAccepted(int result, uint32_t flags);
  void ArmAccept();
  void AddConnection(UniqueFd socket);
  void ScheduleNegotiationCheck();
  void AbortSlowNegotiations();
  void ReportClosed();
  void MaybeFrozen();
  // A timer task that is dropped when the server is gone by then.
  void After(uint64_t delay_ns, std::function<void()> task);

  NbdShared shared_;
  std::string socket_path_;
  BoundSocket socket_;
  std::vector<Client> connections_;
  bool accept_armed_ = false;
  bool negotiation_check_scheduled_ = false;
  bool closing_ = false;
  std::function<void()> closed_;
  bool frozen_ = false;
  std::function<void()> frozen_done_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
  MemberCompletion<Impl, &Impl::OnAccepted> accept_{this};
};

void NbdServer::Impl::After(uint64_t delay_ns, std::function<void()> task) {
  shared_.loop.After(delay_ns, [alive = std::weak_ptr<int>(alive_), task = std::move(task)] {
    if (!alive.expired()) task();
  });
}

void NbdServer::Impl::ArmAccept() {
  accept_armed_ = true;
  io_uring_prep_accept(shared_.loop.Sqe(&accept_), socket_.fd.get(), nullptr, nullptr,
                       SOCK_CLOEXEC);
}

void NbdServer::Impl::OnAccepted(int result, uint32_t /*flags*/) {
  accept_armed_ = false;
  UniqueFd socket(result >= 0 ? result : -1);
  if (closing_) {
    ReportClosed();
    return;
  }
  if (frozen_) {
    // A client that was accepted just now is part of what is handed over.
    if (socket.valid()) AddConnection(std::move(socket));
    MaybeFrozen();
    return;
  }
  if (socket.valid() && connections_.size() < kConnectionsMax) AddConnection(std::move(socket));
  const bool exhausted = result == -EMFILE || result == -ENFILE || result == -ENOMEM;
  if (!exhausted) {
    ArmAccept();
    return;
  }
  // Trying again at once would fail at once; descriptors come back when other clients leave.
  After(kAcceptRetryNs, [this] {
    if (!closing_ && !accept_armed_ && !frozen_) ArmAccept();
  });
}

void NbdServer::Impl::AddConnection(UniqueFd socket) {
  connections_.push_back(
      Client{shared_.loop.now_ns(), std::make_unique<NbdConnection>(shared_, std::move(socket))});
  connections_.back().connection->Start();
  if (frozen_) connections_.back().connection->Freeze();
  ScheduleNegotiationCheck();
}

// One timer for all connections: a client that connects in a loop must not pile up timers.
void NbdServer::Impl::ScheduleNegotiationCheck() {
  if (negotiation_check_scheduled_) return;
  negotiation_check_scheduled_ = true;
  After(kNegotiationNsMax / 2, [this] {
    negotiation_check_scheduled_ = false;
    AbortSlowNegotiations();
  });
}

void NbdServer::Impl::AbortSlowNegotiations() {
  bool any_left = false;
  for (const Client& client : connections_) {
    if (!client.connection->negotiating()) continue;
    if (shared_.loop.now_ns() - client.accepted_ns >= kNegotiationNsMax) {
      client.connection->Abort();
    } else {
      any_left = true;
    }
  }
  if (any_left) ScheduleNegotiationCheck();
}

void NbdServer::Impl::OnRoundEnd() {
  if (shared_.active.empty()) return;
  bool any_finished = false;
  // By index, as a connection may become active again while it is served.
  // NOLINTNEXTLINE(modernize-loop-convert)
  for (size_t i = 0; i < shared_.active.size(); ++i) {
    NbdConnection* connection = shared_.active[i];
    connection->OnRoundEnd();
    any_finished = any_finished || connection->finished();
  }
  shared_.active.clear();
  if (frozen_) MaybeFrozen();
  if (!any_finished) return;
  std::erase_if(connections_, [](const Client& client) { return client.connection->finished(); });
  if (closing_) ReportClosed();
}

void NbdServer::Impl::Close(std::function<void()> done) {
  WEIR_CHECK(!closing_);
  closing_ = true;
  closed_ = std::move(done);
  const Result<FileIdentity> current = IdentityOf(socket_path_);
  // Another server may have taken the path over meanwhile; its socket stays.
  if (current.ok() && current.value() == socket_.identity) ::unlink(socket_path_.c_str());
  ::shutdown(socket_.fd.get(), SHUT_RDWR);  // Ends the accept with EINVAL.
  for (const Client& client : connections_) client.connection->Drain();
  After(kDrainNsMax, [this] {
    for (const Client& client : connections_) client.connection->Abort();
  });
  ReportClosed();
}

void NbdServer::Impl::Freeze(std::function<void()> done) {
  WEIR_CHECK(!frozen_ && !closing_);
  frozen_ = true;
  frozen_done_ = std::move(done);
  if (accept_armed_) {
    io_uring_prep_cancel64(shared_.loop.Sqe(nullptr),
                           reinterpret_cast<uint64_t>(static_cast<Completion*>(&accept_)), 0);
  }
  for (const Client& client : connections_) client.connection->Freeze();
  MaybeFrozen();
}

void NbdServer::Impl::MaybeFrozen() {
  if (!frozen_done_ || accept_armed_) return;
  for (const Client& client : connections_) {
    if (!client.connection->at_rest()) return;
  }
  shared_.loop.Post(std::exchange(frozen_done_, nullptr));
}

void NbdServer::Impl::Thaw() {
  WEIR_CHECK(frozen_ && !frozen_done_);
  frozen_ = false;
  ArmAccept();
  for (const Client& client : connections_) client.connection->Thaw();
}

NbdHandover NbdServer::Impl::Give() const {
  NbdHandover to{.listening_fd = socket_.fd.get(), .connection_fds = {}, .state = {}};
  for (const Client& client : connections_) {
    if (client.connection->finished()) continue;
    to.connection_fds.push_back(client.connection->socket_fd());
    EncodeNbdHandover(client.connection->Give(), to.state);
  }
  return to;
}

void NbdServer::Impl::LetGo() {
  for (const Client& client : connections_) client.connection->LetGo();
}

void NbdServer::Impl::Resume(UniqueFd socket, const NbdConnection::Handover& handover) {
  connections_.push_back(
      Client{shared_.loop.now_ns(), std::make_unique<NbdConnection>(shared_, std::move(socket))});
  connections_.back().connection->Resume(handover);
  ScheduleNegotiationCheck();
}

void NbdServer::Impl::ReportClosed() {
  if (accept_armed_ || !connections_.empty() || !closed_) return;
  shared_.loop.RemoveRoundEnd(this);
  socket_.fd.Reset();
  // In a task of its own, so that the callback may destroy the server.
  shared_.loop.Post(std::exchange(closed_, nullptr));
}

Result<std::unique_ptr<NbdServer>> NbdServer::Listen(Loop& loop, BlockDevice& device,
                                                     NbdConfig config) {
  if (config.export_name.size() > nbd::kNameBytesMax) {
    return Error{ENAMETOOLONG, "cannot serve an NBD export whose name exceeds 4096 bytes"};
  }
  Result<BoundSocket> socket = BindByRename(config.socket_path);
  if (!socket.ok()) return socket.error();
  return std::unique_ptr<NbdServer>(new NbdServer(
      std::make_unique<Impl>(loop, device, std::move(config), std::move(socket.value()))));
}

Result<std::unique_ptr<NbdServer>> NbdServer::Take(Loop& loop, BlockDevice& device,
                                                   NbdConfig config, std::vector<UniqueFd> fds,
                                                   std::span<const std::byte> state) {
  if (fds.empty()) return Error{EBADMSG, "the NBD server was handed over without its socket"};
  std::vector<NbdConnection::Handover> connections;
  while (!state.empty()) {
    auto decoded = DecodeNbdHandover(state);
    if (!decoded) return Error{EBADMSG, "the NBD clients that were handed over do not verify"};
    connections.push_back(std::move(*decoded));
  }
  if (connections.size() + 1 != fds.size()) {
    return Error{EBADMSG, "the NBD clients that were handed over do not fit their sockets"};
  }
  // Without it, Close() would only leave the path alone.
  const Result<FileIdentity> identity = IdentityOf(config.socket_path);
  BoundSocket socket{std::move(fds[0]), identity.ok() ? identity.value() : FileIdentity{}};
  auto impl = std::make_unique<Impl>(loop, device, std::move(config), std::move(socket));
  for (size_t at = 0; at < connections.size(); ++at) {
    impl->Resume(std::move(fds[at + 1]), connections[at]);
  }
  return std::unique_ptr<NbdServer>(new NbdServer(std::move(impl)));
}

void NbdServer::Freeze(std::function<void()> done) { impl_->Freeze(std::move(done)); }
void NbdServer::Thaw() { impl_->Thaw(); }
NbdHandover NbdServer::Give() const { return impl_->Give(); }
void NbdServer::LetGo() { impl_->LetGo(); }

NbdServer::NbdServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NbdServer::~NbdServer() = default;

void NbdServer::Close(std::function<void()> done) { impl_->Close(std::move(done)); }
size_t NbdServer::connections() const noexcept { return impl_->connections(); }

}  // namespace weir
