// One NBD client: receives into chunks, parses requests in place, hands them to the device and
// sends the replies of a round with one sendmsg.
//
// Thread: the loop thread.
// Invariants: (1) a request's memory, payload included, stays until the device gave it back, even
//   when the peer is gone; (2) memory held for one client is bounded: beyond kHeldBytesMax or
//   kRequestsMax nothing is parsed or received until replies were sent; (3) the object may go only
//   when finished() (no request on the ring and none in the device), or when the ring was closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/loop/member_completion.h"
#include "engine/nbd/nbd_buffers.h"
#include "engine/nbd/nbd_negotiation.h"
#include "engine/volume/block_device.h"

namespace weir {

class NbdConnection;

// What all connections of one server share; outlives them.
struct NbdShared {
  Loop& loop;
  BlockDevice& device;
  std::string export_name;
  NbdBuffers buffers;
  // Connections with something to do at this round's end; each at most once.
  std::vector<NbdConnection*> active;
};

struct NbdRequest final : IoRequest {
  uint64_t cookie = 0;
  NbdChunk* chunk = nullptr;         // holds the payload of a write
  NbdRequest* next_reply = nullptr;  // in the reply queue, or in the list of free requests
  uint32_t reply_bytes = 0;          // header, and data of a read that succeeded
  std::byte reply_header[nbd::kSimpleReplyBytes] = {};
};

class NbdConnection final : public IoOwner {
 public:
  static constexpr size_t kHeldBytesMax = 64U << 20;
  static constexpr size_t kRequestsMax = 1024;

  // What another process needs in order to go on with a client between two of its messages.
  struct Handover {
    NbdNegotiation::Progress negotiation;
    bool draining = false;          // the client has said that it leaves
    uint64_t skip_bytes = 0;        // of the input still to come
    std::vector<std::byte> input;   // received, not handled
    std::vector<std::byte> output;  // handled, not sent
  };

  NbdConnection(NbdShared& shared, UniqueFd socket);
  NbdConnection(const NbdConnection&) = delete;
  NbdConnection& operator=(const NbdConnection&) = delete;
  ~NbdConnection();

  // Sends the greeting and begins to receive at this round's end.
  void Start();
  // Instead of Start(): goes on with what Give() of another process said.
  void Resume(const Handover& handover);
  // Receives and sends no more; at_rest() when nothing is on the ring and in the device.
  void Freeze();
  void Thaw();
  [[nodiscard]] bool at_rest() const noexcept {
    return !receive_armed_ && !writable_armed_ && !resume_armed_ && in_device_ == 0;
  }
  // REQUIRES at_rest(). The connection may still be thawed.
  [[nodiscard]] Handover Give() const;
  // Another process has the client: drops everything without a word to it.
  void LetGo();
  [[nodiscard]] int socket_fd() const noexcept { return socket_.get(); }
  // Takes no more requests; closes when those in the device are answered.
  void Drain();
  // Closes now: replies that were not sent are dropped.
  void Abort();
  // Sends replies and receives on. Called once per round for each active connection.
  void OnRoundEnd();

  [[nodiscard]] bool negotiating() const noexcept {
    return negotiation_.phase() != NbdNegotiation::Phase::kTransmission;
  }
  [[nodiscard]] bool finished() const noexcept {
    return closed_ && !receive_armed_ && !writable_armed_ && !resume_armed_ && in_device_ == 0;
  }

  void OnIoDone(IoRequest* request, int result) override;

 private:
  void OnReceived(int result, uint32_t flags);
  void OnWritable(int result, uint32_t flags);
  void OnResume(int result, uint32_t flags);

  void Activate();
  void Negotiate();
  void Parse();
  // Takes one request if it is whole. False: more bytes, or fewer held requests, are needed.
  bool ParseRequest();
  void StartRequest(const nbd::Request& wire, std::byte* payload);
  void Refuse(const nbd::Request& wire, uint32_t error);
  [[nodiscard]] uint32_t Check(const nbd::Request& wire) const;
  [[nodiscard]] bool AtLimit() const noexcept {
    return held_bytes_ > kHeldBytesMax || requests_ >= kRequestsMax;
  }

  void ArmReceive();
  void MakeRoom();
  void SendReplies();
  void SendInherited();
  size_t GatherReplies(struct iovec* iov, size_t iov_max) const;
  void DropSent(size_t bytes);

  NbdRequest* TakeRequest(uint64_t cookie);
  void QueueReply(NbdRequest* request, uint32_t error);
  void ReleaseRequest(NbdRequest* request);
  void ReleaseChunk(NbdChunk* chunk);
  void TakeChunk(size_t bytes_min);

  NbdShared& shared_;
  UniqueFd socket_;
  NbdNegotiation negotiation_;

  // chunk_ bytes [parsed_, filled_) are received and not yet parsed.
  NbdChunk* chunk_ = nullptr;
  size_t parsed_ = 0;
  size_t filled_ = 0;
  size_t message_bytes_ = 0;  // of the message at parsed_, as far as its header is known
  uint64_t skip_bytes_ = 0;   // payload of a refused write that is still to come

  std::deque<NbdRequest> request_memory_;
  NbdRequest* free_requests_ = nullptr;
  size_t requests_ = 0;  // taken and not yet released
  size_t in_device_ = 0;
  size_t held_bytes_ = 0;  // chunks that are referenced and data of reads

  std::vector<std::byte> inherited_output_;  // a former server's; goes before any reply
  NbdRequest* reply_head_ = nullptr;
  NbdRequest* reply_tail_ = nullptr;
  size_t reply_sent_ = 0;  // of the reply at the head

  bool active_ = false;  // listed in shared_.active
  bool paused_ = false;  // AtLimit() stopped the parsing
  bool draining_ = false;
  bool frozen_ = false;
  std::vector<NbdRequest*> left_behind_;  // given back by the device while frozen
  bool closed_ = false;
  bool receive_armed_ = false;
  bool writable_armed_ = false;
  bool resume_armed_ = false;
  MemberCompletion<NbdConnection, &NbdConnection::OnReceived> receive_{this};
  MemberCompletion<NbdConnection, &NbdConnection::OnWritable> writable_{this};
  MemberCompletion<NbdConnection, &NbdConnection::OnResume> resume_{this};
};

}  // namespace weir
