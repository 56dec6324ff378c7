// A connection between two servers: coming to rest at a message's border, and going on elsewhere.
#include <sys/uio.h>

#include <algorithm>
#include <array>

#include "engine/base/check.h"
#include "engine/nbd/nbd_connection.h"

namespace weir {
namespace {

using nbd::Command;

Command CommandOf(const NbdRequest& request) noexcept {
  switch (request.op) {
    case IoOp::kRead:
      return Command::kRead;
    case IoOp::kWrite:
      return Command::kWrite;
    case IoOp::kDiscard:
      return Command::kTrim;
    case IoOp::kWriteZeroes:
      return Command::kWriteZeroes;
    case IoOp::kFlush:
    default:
      return Command::kFlush;
  }
}

void Append(std::vector<std::byte>& to, const void* from, size_t bytes) {
  const auto* first = static_cast<const std::byte*>(from);
  to.insert(to.end(), first, first + bytes);
}

// The request as the client sent it, but for a hint that the engine does not heed (NO_HOLE).
void AppendRequest(std::vector<std::byte>& to, const NbdRequest& request) {
  std::array<std::byte, nbd::kRequestBytes> wire{};
  nbd::EncodeRequest(wire.data(), {.magic = nbd::kRequestMagic,
                                   .flags = request.fua ? nbd::kCommandFua : uint16_t{0},
                                   .command = static_cast<uint16_t>(CommandOf(request)),
                                   .cookie = request.cookie,
                                   .offset_bytes = request.offset_bytes,
                                   .length_bytes = request.length_bytes});
  Append(to, wire.data(), wire.size());
  if (request.op == IoOp::kWrite) Append(to, request.data, request.length_bytes);
}

}  // namespace

void NbdConnection::Freeze() {
  WEIR_CHECK(!frozen_);
  frozen_ = true;
  // Bytes that arrive before the cancelling does are kept, in order.
  if (receive_armed_) {
    io_uring_prep_cancel64(shared_.loop.Sqe(nullptr),
                           reinterpret_cast<uint64_t>(static_cast<Completion*>(&receive_)), 0);
  }
  if (writable_armed_) {
    io_uring_prep_cancel64(shared_.loop.Sqe(nullptr),
                           reinterpret_cast<uint64_t>(static_cast<Completion*>(&writable_)), 0);
  }
  Activate();
}

void NbdConnection::Thaw() {
  WEIR_CHECK(frozen_ && at_rest());
  frozen_ = false;
  for (NbdRequest* request : std::exchange(left_behind_, {})) {
    ++in_device_;
    shared_.device.Submit(request);
  }
  if (!paused_) Parse();
  Activate();
}

NbdConnection::Handover NbdConnection::Give() const {
  WEIR_CHECK(frozen_ && at_rest());
  Handover to{.negotiation = negotiation_.progress(),
              .draining = draining_,
              .skip_bytes = skip_bytes_,
              .input = {},
              .output = {}};
  for (const NbdRequest* request : left_behind_) AppendRequest(to.input, *request);
  // Bytes to skip have no message in front of them: a refused write is answered at once.
  size_t begin = parsed_;
  const auto skipped = static_cast<size_t>(std::min<uint64_t>(to.skip_bytes, filled_ - begin));
  begin += skipped;
  to.skip_bytes -= skipped;
  Append(to.input, chunk_->bytes.get() + begin, filled_ - begin);
  size_t skip = reply_sent_;
  for (const NbdRequest* reply = reply_head_; reply != nullptr; reply = reply->next_reply) {
    if (skip < nbd::kSimpleReplyBytes) {
      Append(to.output, reply->reply_header + skip, nbd::kSimpleReplyBytes - skip);
      skip = nbd::kSimpleReplyBytes;
    }
    const size_t sent = skip - nbd::kSimpleReplyBytes;
    const size_t data_bytes = reply->reply_bytes - nbd::kSimpleReplyBytes;
    if (data_bytes > sent) Append(to.output, reply->data + sent, data_bytes - sent);
    skip = 0;
  }
  // A former server's replies that this one has not passed on either.
  to.output.insert(to.output.begin(), inherited_output_.begin(), inherited_output_.end());
  return to;
}

void NbdConnection::LetGo() {
  closed_ = true;
  for (NbdRequest* request : std::exchange(left_behind_, {})) ReleaseRequest(request);
  while (reply_head_ != nullptr) {
    NbdRequest* request = reply_head_;
    reply_head_ = request->next_reply;
    ReleaseRequest(request);
  }
  reply_tail_ = nullptr;
}

void NbdConnection::Resume(const Handover& handover) {
  negotiation_.GoOn(handover.negotiation);
  inherited_output_ = handover.output;
  if (handover.input.size() > chunk_->capacity) {
    NbdChunk* old = chunk_;
    TakeChunk(handover.input.size());
    ReleaseChunk(old);
  }
  std::copy(handover.input.begin(), handover.input.end(), chunk_->bytes.get());
  parsed_ = 0;
  filled_ = handover.input.size();
  Parse();
  // Only a connection whose input was all taken has bytes to skip, or a client that left.
  if (!closed_) {
    skip_bytes_ += handover.skip_bytes;
    draining_ = draining_ || handover.draining;
  }
  Activate();
}

}  // namespace weir
