// The data phase of the NBD client: one non-blocking socket, requests gathered into few sendmsg
// calls, replies parsed out of large receives. An answer that nobody asked for, or a second one to
// the same request, is a fault of the server and ends the oracle.
#include "oracle/nbd_target.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>

#include "engine/base/types.h"
#include "oracle/nbd_wire.h"

namespace weir::oracle {
namespace {

using nbd::Big;

constexpr size_t kReceiveBytes = 256 * 1024;
constexpr size_t kVectorsMax = 256;

uint16_t CommandOf(Op op) noexcept {
  switch (op) {
    case Op::kRead:
      return nbd::kCommandRead;
    case Op::kWrite:
      return nbd::kCommandWrite;
    case Op::kTrim:
      return nbd::kCommandTrim;
    case Op::kZero:
      return nbd::kCommandWriteZeroes;
    case Op::kFlush:
      break;
  }
  return nbd::kCommandFlush;
}

// The errno of an NBD error number; those that the protocol names have Linux's values.
int32_t ResultOf(uint32_t error) noexcept {
  return error > 4095 ? -EIO : -static_cast<int32_t>(error);
}

class NbdTarget final : public Target {
 public:
  NbdTarget(NbdExport connection, uint32_t depth)
      : connection_(std::move(connection)), slots_(depth), input_(kReceiveBytes) {}
  NbdTarget(const NbdTarget&) = delete;
  NbdTarget& operator=(const NbdTarget&) = delete;
  ~NbdTarget() override { SayGoodbye(); }

  [[nodiscard]] uint64_t blocks() const override { return connection_.size_bytes / kBlockBytes; }
  [[nodiscard]] bool must_not_fail() const override { return false; }

  [[nodiscard]] Result<void> Submit(std::span<const Request> requests) override {
    for (const Request& request : requests) {
      if (!IsOffered(request)) {
        return Error{EOPNOTSUPP, "the export does not offer one of FUA, flush, trim, write-zeroes"};
      }
      Enqueue(request);
    }
    return SendSome();
  }

  [[nodiscard]] Result<void> Wait(int timeout_ms, std::vector<Completion>& done) override {
    const size_t before = done.size();
    if (auto sent = SendSome(); !sent.ok()) return sent;
    if (auto got = ReceiveSome(done); !got.ok()) return got;
    if (done.size() > before) return {};
    pollfd waiting{.fd = connection_.socket.get(), .events = POLLIN, .revents = 0};
    if (!output_.empty()) waiting.events |= POLLOUT;
    if (::poll(&waiting, 1, timeout_ms) < 0 && errno != EINTR) {
      return Error{errno, "cannot wait for the NBD server"};
    }
    if ((waiting.revents & POLLOUT) != 0) {
      if (auto sent = SendSome(); !sent.ok()) return sent;
    }
    return ReceiveSome(done);
  }

 private:
  struct Slot {
    nbd::RequestHeader header{};
    uint64_t cookie = 0;  // 0 while nothing is outstanding
    std::byte* data = nullptr;
    size_t read_bytes = 0;
  };

  [[nodiscard]] bool IsOffered(const Request& request) const noexcept {
    uint16_t needed = request.fua ? nbd::kSendsFua : uint16_t{0};
    if (request.op == Op::kTrim) needed |= nbd::kSendsTrim;
    if (request.op == Op::kZero) needed |= nbd::kSendsWriteZeroes;
    if (request.op == Op::kFlush) needed |= nbd::kSendsFlush;
    return (connection_.flags & needed) == needed;
  }

  void Enqueue(const Request& request) {
    Slot& slot = slots_[request.slot];
    WEIR_CHECK(slot.cookie == 0);
    const size_t bytes = static_cast<size_t>(request.block_count) * kBlockBytes;
    slot.cookie = (++sent_ << 16) | request.slot;
    slot.data = request.data;
    slot.read_bytes = request.op == Op::kRead ? bytes : 0;
    slot.header = {.magic = Big(nbd::kRequestMagic),
                   .flags = request.fua ? Big(nbd::kFlagFua) : uint16_t{0},
                   .command = Big<uint16_t>(CommandOf(request.op)),
                   .cookie = Big<uint64_t>(slot.cookie),
                   .offset = Big<uint64_t>(request.first_block * kBlockBytes),
                   .bytes = Big<uint32_t>(static_cast<uint32_t>(bytes))};
    output_.push_back({&slot.header, sizeof(slot.header)});
    if (request.op == Op::kWrite) output_.push_back({request.data, bytes});
  }

  // Sends what the socket takes. A server that went away is noticed by reading, so that the answers
  // which it still gave are not missed.
  [[nodiscard]] Result<void> SendSome() {
    while (!output_.empty() && !send_ended_) {
      std::array<iovec, kVectorsMax> vectors;
      const size_t count = std::min(output_.size(), kVectorsMax);
      std::copy_n(output_.begin(), count, vectors.begin());
      msghdr message{};
      message.msg_iov = vectors.data();
      message.msg_iovlen = count;
      const ssize_t sent = ::sendmsg(connection_.socket.get(), &message, MSG_NOSIGNAL);
      if (sent >= 0) {
        Consume(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        return {};
      } else if (errno == EPIPE || errno == ECONNRESET) {
        send_ended_ = true;
      } else if (errno != EINTR) {
        return Error{errno, "cannot send to the NBD server"};
      }
    }
    return {};
  }

  void Consume(size_t sent) {
    while (sent > 0) {
      iovec& front = output_.front();
      const size_t step = std::min(sent, front.iov_len);
      front.iov_base = static_cast<std::byte*>(front.iov_base) + step;
      front.iov_len -= step;
      sent -= step;
      if (front.iov_len == 0) output_.pop_front();
    }
  }

  [[nodiscard]] Result<void> ReceiveSome(std::vector<Completion>& done) {
    for (;;) {
      // A long payload goes straight to its place, everything else through the input buffer.
      const bool straight = payload_left_ > 0;
      std::byte* const where = straight ? payload_at_ : input_.data() + filled_;
      const size_t room = straight ? payload_left_ : input_.size() - filled_;
      const ssize_t got = ::recv(connection_.socket.get(), where, room, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return {};
      if (got < 0 && errno != ECONNRESET) {
        return Error{errno, "cannot receive from the NBD server"};
      }
      if (got <= 0) {
        if (!done.empty()) return {};  // the next call sees the end again
        return Error{kTargetGone, "the NBD server went away"};
      }
      const auto bytes = static_cast<size_t>(got);
      if (straight) {
        TakePayload(bytes, done);
      } else {
        filled_ += bytes;
        if (auto parsed = ParseInput(done); !parsed.ok()) return parsed;
      }
      if (bytes < room) return {};
    }
  }

  void TakePayload(size_t bytes, std::vector<Completion>& done) {
    payload_at_ += bytes;
    payload_left_ -= bytes;
    if (payload_left_ == 0) Finish(payload_slot_, 0, done);
  }

  [[nodiscard]] Result<void> ParseInput(std::vector<Completion>& done) {
    size_t at = 0;
    while (filled_ - at >= sizeof(nbd::ReplyHeader) && payload_left_ == 0) {
      nbd::ReplyHeader reply;
      std::memcpy(&reply, input_.data() + at, sizeof(reply));
      at += sizeof(reply);
      const auto cookie = Big<uint64_t>(reply.cookie);
      const auto index = static_cast<uint32_t>(cookie & 0xffff);
      const bool ours = index < slots_.size() && cookie != 0 && slots_[index].cookie == cookie;
      if (Big<uint32_t>(reply.magic) != nbd::kReplyMagic || !ours) {
        return Error{EPROTO, "the NBD server answered a request that was not outstanding"};
      }
      const Slot& slot = slots_[index];
      const int32_t result = ResultOf(Big<uint32_t>(reply.error));
      if (result != 0 || slot.read_bytes == 0) {
        Finish(index, result, done);
        continue;
      }
      const size_t here = std::min(filled_ - at, slot.read_bytes);
      std::memcpy(slot.data, input_.data() + at, here);
      at += here;
      payload_slot_ = index;
      payload_at_ = slot.data;
      payload_left_ = slot.read_bytes;
      TakePayload(here, done);
    }
    std::memmove(input_.data(), input_.data() + at, filled_ - at);
    filled_ -= at;
    return {};
  }

  void Finish(uint32_t index, int32_t result, std::vector<Completion>& done) {
    slots_[index].cookie = 0;
    done.push_back({index, result});
  }

  // A polite end lets the server close quietly; nobody waits for it.
  void SayGoodbye() noexcept {
    if (!output_.empty() || send_ended_) return;
    nbd::RequestHeader header{};
    header.magic = Big(nbd::kRequestMagic);
    header.command = Big(nbd::kCommandDisconnect);
    [[maybe_unused]] const ssize_t sent =
        ::send(connection_.socket.get(), &header, sizeof(header), MSG_NOSIGNAL);
  }

  NbdExport connection_;
  std::vector<Slot> slots_;
  std::deque<iovec> output_;
  std::vector<std::byte> input_;
  size_t filled_ = 0;
  uint32_t payload_slot_ = 0;
  std::byte* payload_at_ = nullptr;
  size_t payload_left_ = 0;
  uint64_t sent_ = 0;
  bool send_ended_ = false;
};

}  // namespace

Result<std::unique_ptr<Target>> OpenNbdTarget(const NbdConnectOptions& options) {
  auto connection = ConnectNbd(options);
  if (!connection.ok()) return connection.error();
  return std::unique_ptr<Target>(
      std::make_unique<NbdTarget>(std::move(connection.value()), options.depth));
}

}  // namespace weir::oracle
