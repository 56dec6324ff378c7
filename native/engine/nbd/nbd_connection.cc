#include "engine/nbd/nbd_connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/types.h"

namespace weir {
namespace {

using nbd::Command;

// Below this much room a chunk is changed rather than filled up: small receives cost a round each.
constexpr size_t kReceiveBytesMin = 64U << 10;
constexpr size_t kReplyVectorsMax = 512;

// Replies of a deep queue of reads should leave in one go; the kernel's default holds 200 KiB.
constexpr int kSendBufferBytes = 4 << 20;

uint32_t WireError(int result) noexcept {
  switch (result) {
    case 0:
      return 0;
    case -EINVAL:
      return nbd::kErrorInvalid;
    case -ENOSPC:
      return nbd::kErrorNoSpace;
    default:
      return nbd::kErrorIo;
  }
}

IoOp OpOf(Command command) noexcept {
  switch (command) {
    case Command::kRead:
      return IoOp::kRead;
    case Command::kWrite:
      return IoOp::kWrite;
    case Command::kTrim:
      return IoOp::kDiscard;
    case Command::kWriteZeroes:
      return IoOp::kWriteZeroes;
    case Command::kFlush:
    case Command::kDisconnect:
    default:
      return IoOp::kFlush;
  }
}

}  // namespace

NbdConnection::NbdConnection(NbdShared& shared, UniqueFd socket)
    : shared_(shared), socket_(std::move(socket)), negotiation_(shared.export_name) {
  setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof(kSendBufferBytes));
  TakeChunk(NbdBuffers::kChunkBytes);
}

NbdConnection::~NbdConnection() { ReleaseChunk(chunk_); }

void NbdConnection::Start() {
  std::vector<std::byte> greeting;
  NbdNegotiation::AppendGreeting(greeting);
  const ssize_t sent =
      ::send(socket_.get(), greeting.data(), greeting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(greeting.size())) Abort();
  Activate();
}

void NbdConnection::Drain() {
  if (closed_ || draining_) return;
  draining_ = true;
  ::shutdown(socket_.get(), SHUT_RD);  // Ends a receive that is waiting.
  Activate();
}

void NbdConnection::Abort() {
  if (closed_) return;
  closed_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);  // Ends what is waiting on the ring.
  while (reply_head_ != nullptr) {
    NbdRequest* request = reply_head_;
    reply_head_ = request->next_reply;
    ReleaseRequest(request);
  }
  reply_tail_ = nullptr;
  Activate();
}

void NbdConnection::Activate() {
  if (active_) return;
  active_ = true;
  shared_.active.push_back(this);
}

void NbdConnection::OnRoundEnd() {
  active_ = false;
  if (closed_ || frozen_) return;
  SendReplies();
  if (closed_) return;
  if (draining_) {
    if (requests_ == 0 && inherited_output_.empty()) Abort();
    return;
  }
  if (paused_ && !AtLimit() && !resume_armed_) {
    // The requests that waited must pass the commit phase of a round, so another round is needed.
    resume_armed_ = true;
    io_uring_prep_nop(shared_.loop.Sqe(&resume_));
  }
  ArmReceive();
}

// ---- receiving ----

void NbdConnection::OnReceived(int result, uint32_t /*flags*/) {
  receive_armed_ = false;
  Activate();
  if (closed_ || draining_ || result == -EINTR || result == -EAGAIN) return;
  if (result == -ECANCELED) return;  // By Freeze().
  if (result <= 0) {
    Abort();
    return;
  }
  filled_ += static_cast<size_t>(result);
  Parse();
}

void NbdConnection::OnResume(int /*result*/, uint32_t /*flags*/) {
  resume_armed_ = false;
  Activate();
  if (closed_ || draining_) return;
  paused_ = false;
  Parse();
}

void NbdConnection::ArmReceive() {
  if (receive_armed_ || paused_ || frozen_) return;
  MakeRoom();
  receive_armed_ = true;
  io_uring_prep_recv(shared_.loop.Sqe(&receive_), socket_.get(), chunk_->bytes.get() + filled_,
                     chunk_->capacity - filled_, 0);
}

// Leaves room behind filled_ for the rest of the message that began at parsed_.
void NbdConnection::MakeRoom() {
  const size_t partial = filled_ - parsed_;
  const bool alone = chunk_->references == 1;
  if (partial == 0 && alone) {
    parsed_ = filled_ = 0;  // The same memory again: it is in the CPU's cache.
    return;
  }
  const bool fits = chunk_->capacity - parsed_ >= message_bytes_;
  if (fits && chunk_->capacity - filled_ >= kReceiveBytesMin) return;
  // A large write that lies in the chunk but for its tail stays; copying it would cost more.
  if (fits && message_bytes_ > partial && partial >= kReceiveBytesMin) return;
  if (alone && message_bytes_ <= chunk_->capacity) {
    std::memmove(chunk_->bytes.get(), chunk_->bytes.get() + parsed_, partial);
  } else {
    NbdChunk* old = chunk_;
    TakeChunk(message_bytes_);
    std::memcpy(chunk_->bytes.get(), old->bytes.get() + parsed_, partial);
    ReleaseChunk(old);
  }
  parsed_ = 0;
  filled_ = partial;
}

// ---- parsing ----

void NbdConnection::Negotiate() {
  std::vector<std::byte> answers;
  const std::span<const std::byte> received(chunk_->bytes.get() + parsed_, filled_ - parsed_);
  parsed_ += negotiation_.Consume(received, shared_.device.size_bytes(), answers);
  message_bytes_ = nbd::kOptionHeaderBytes + NbdNegotiation::kOptionDataBytesMax;
  if (!answers.empty()) {
    // The answers of one handshake fit the socket buffer unless the client never reads them.
    const ssize_t sent =
        ::send(socket_.get(), answers.data(), answers.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(answers.size())) Abort();
  }
  if (negotiation_.phase() == NbdNegotiation::Phase::kClosed) Abort();
}

void NbdConnection::Parse() {
  if (frozen_) return;
  if (negotiating()) {
    Negotiate();
    if (negotiating() || closed_) return;
  }
  while (!closed_ && !draining_ && ParseRequest()) {
  }
}

bool NbdConnection::ParseRequest() {
  const size_t available = filled_ - parsed_;
  if (skip_bytes_ > 0) {
    const size_t skipped = std::min<uint64_t>(skip_bytes_, available);
    skip_bytes_ -= skipped;
    parsed_ += skipped;
    message_bytes_ = 0;
    return skip_bytes_ == 0;
  }
  message_bytes_ = nbd::kRequestBytes;
  if (available < nbd::kRequestBytes) return false;
  if (AtLimit()) {
    paused_ = true;
    return false;
  }
  std::byte* message = chunk_->bytes.get() + parsed_;
  const nbd::Request wire = nbd::DecodeRequest(message);
  if (wire.magic != nbd::kRequestMagic) {
    Abort();
    return false;
  }
  const auto command = static_cast<Command>(wire.command);
  const uint32_t payload_bytes = command == Command::kWrite ? wire.length_bytes : 0;
  if (command == Command::kDisconnect) {
    draining_ = true;
    return false;
  }
  const uint32_t error = Check(wire);
  if (error != 0) {
    parsed_ += nbd::kRequestBytes;
    skip_bytes_ = payload_bytes;
    Refuse(wire, error);
    return true;
  }
  message_bytes_ = nbd::kRequestBytes + size_t{payload_bytes};
  if (available < message_bytes_) return false;
  parsed_ += message_bytes_;
  StartRequest(wire, message + nbd::kRequestBytes);
  return true;
}

// 0 or the error that refuses the request.
uint32_t NbdConnection::Check(const nbd::Request& wire) const {
  const auto command = static_cast<Command>(wire.command);
  uint16_t flags_allowed = nbd::kCommandFua;
  switch (command) {
    case Command::kFlush:
      return wire.offset_bytes == 0 && wire.length_bytes == 0 && (wire.flags & ~flags_allowed) == 0
                 ? 0
                 : nbd::kErrorInvalid;
    case Command::kRead:
    case Command::kWrite:
      if (wire.length_bytes > nbd::kPayloadBytesMax) return nbd::kErrorInvalid;
      break;
    case Command::kWriteZeroes:
      flags_allowed |= nbd::kCommandNoHole;
      break;
    case Command::kTrim:
      break;
    case Command::kDisconnect:
    default:
      return nbd::kErrorInvalid;
  }
  if ((wire.flags & ~flags_allowed) != 0 || wire.length_bytes == 0 ||
      wire.offset_bytes % kBlockBytes != 0 || wire.length_bytes % kBlockBytes != 0) {
    return nbd::kErrorInvalid;
  }
  const uint64_t size_bytes = shared_.device.size_bytes();
  if (wire.offset_bytes <= size_bytes && wire.length_bytes <= size_bytes - wire.offset_bytes) {
    return 0;
  }
  const bool stores = command == Command::kWrite || command == Command::kWriteZeroes;
  return stores ? nbd::kErrorNoSpace : nbd::kErrorInvalid;
}

// ---- requests ----

void NbdConnection::StartRequest(const nbd::Request& wire, std::byte* payload) {
  NbdRequest* request = TakeRequest(wire.cookie);
  request->op = OpOf(static_cast<Command>(wire.command));
  request->fua = request->op != IoOp::kRead && (wire.flags & nbd::kCommandFua) != 0;
  request->offset_bytes = wire.offset_bytes;
  request->length_bytes = wire.length_bytes;
  if (request->op == IoOp::kWrite) {
    request->data = payload;
    request->chunk = chunk_;
    ++chunk_->references;
  } else if (request->op == IoOp::kRead) {
    request->data = shared_.buffers.TakeData(wire.length_bytes);
    held_bytes_ += wire.length_bytes;
  }
  ++in_device_;
  shared_.device.Submit(request);
}

void NbdConnection::Refuse(const nbd::Request& wire, uint32_t error) {
  NbdRequest* request = TakeRequest(wire.cookie);
  request->op = IoOp::kFlush;  // Holds no data.
  QueueReply(request, error);
}

void NbdConnection::OnIoDone(IoRequest* done, int result) {
  auto* request = static_cast<NbdRequest*>(done);
  WEIR_CHECK(in_device_ > 0);
  --in_device_;
  if (closed_) {
    ReleaseRequest(request);
  } else if (result == kGivenBack) {
    WEIR_CHECK(frozen_);
    left_behind_.push_back(request);
  } else {
    QueueReply(request, WireError(result));
  }
  Activate();
}

NbdRequest* NbdConnection::TakeRequest(uint64_t cookie) {
  NbdRequest* request = free_requests_;
  if (request == nullptr) {
    request = &request_memory_.emplace_back();
  } else {
    free_requests_ = request->next_reply;
  }
  ++requests_;
  request->owner = this;
  request->data = nullptr;
  request->cookie = cookie;
  request->chunk = nullptr;
  return request;
}

void NbdConnection::QueueReply(NbdRequest* request, uint32_t error) {
  nbd::EncodeSimpleReply(request->reply_header, error, request->cookie);
  request->reply_bytes = nbd::kSimpleReplyBytes;
  if (request->op == IoOp::kRead && error == 0) request->reply_bytes += request->length_bytes;
  request->next_reply = nullptr;
  if (reply_head_ == nullptr) {
    reply_head_ = request;
  } else {
    reply_tail_->next_reply = request;
  }
  reply_tail_ = request;
}

void NbdConnection::ReleaseRequest(NbdRequest* request) {
  if (request->chunk != nullptr) ReleaseChunk(request->chunk);
  if (request->op == IoOp::kRead) {
    shared_.buffers.ReleaseData(request->data, request->length_bytes);
    held_bytes_ -= request->length_bytes;
  }
  --requests_;
  request->next_reply = free_requests_;
  free_requests_ = request;
}

void NbdConnection::TakeChunk(size_t bytes_min) {
  chunk_ = shared_.buffers.TakeChunk(bytes_min);
  held_bytes_ += chunk_->capacity;
}

void NbdConnection::ReleaseChunk(NbdChunk* chunk) {
  if (chunk->references == 1) held_bytes_ -= chunk->capacity;
  shared_.buffers.Release(chunk);
}

// ---- replies ----

void NbdConnection::OnWritable(int /*result*/, uint32_t /*flags*/) {
  writable_armed_ = false;
  Activate();
}

void NbdConnection::SendInherited() {
  while (!inherited_output_.empty() && !writable_armed_) {
    const ssize_t sent = ::send(socket_.get(), inherited_output_.data(), inherited_output_.size(),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      inherited_output_.erase(inherited_output_.begin(), inherited_output_.begin() + sent);
    } else if (errno == EAGAIN) {
      writable_armed_ = true;
      io_uring_prep_poll_add(shared_.loop.Sqe(&writable_), socket_.get(), POLLOUT);
    } else if (errno != EINTR) {
      Abort();
      return;
    }
  }
}

void NbdConnection::SendReplies() {
  if (!inherited_output_.empty()) {
    SendInherited();
    if (closed_ || writable_armed_) return;
  }
  while (reply_head_ != nullptr && !writable_armed_) {
    std::array<iovec, kReplyVectorsMax> iov;
    msghdr message{};
    message.msg_iov = iov.data();
    message.msg_iovlen = GatherReplies(iov.data(), iov.size());
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      DropSent(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      writable_armed_ = true;
      io_uring_prep_poll_add(shared_.loop.Sqe(&writable_), socket_.get(), POLLOUT);
    } else if (errno != EINTR) {
      Abort();
    }
  }
}

// The replies from the head on, less what of the head is sent already.
size_t NbdConnection::GatherReplies(iovec* iov, size_t iov_max) const {
  size_t count = 0;
  size_t skip = reply_sent_;
  for (NbdRequest* request = reply_head_; request != nullptr && count + 2 <= iov_max;
       request = request->next_reply) {
    if (skip < nbd::kSimpleReplyBytes) {
      iov[count++] = iovec{request->reply_header + skip, nbd::kSimpleReplyBytes - skip};
      skip = nbd::kSimpleReplyBytes;
    }
    const size_t data_sent = skip - nbd::kSimpleReplyBytes;
    const size_t data_bytes = request->reply_bytes - nbd::kSimpleReplyBytes;
    if (data_bytes > data_sent) {
      iov[count++] = iovec{request->data + data_sent, data_bytes - data_sent};
    }
    skip = 0;
  }
  return count;
}

void NbdConnection::DropSent(size_t bytes) {
  reply_sent_ += bytes;
  while (reply_head_ != nullptr && reply_sent_ >= reply_head_->reply_bytes) {
    NbdRequest* request = reply_head_;
    reply_sent_ -= request->reply_bytes;
    reply_head_ = request->next_reply;
    if (reply_head_ == nullptr) reply_tail_ = nullptr;
    ReleaseRequest(request);
  }
  WEIR_CHECK(reply_head_ != nullptr || reply_sent_ == 0);
}

}  // namespace weir
