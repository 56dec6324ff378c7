// The border between transports (NBD, ublk) and what serves the blocks (a volume, or the bare
// targets that benchmarks compare with). Everything here happens on the device's loop thread.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>

namespace weir {

enum class IoOp : uint8_t { kRead, kWrite, kFlush, kDiscard, kWriteZeroes };

struct IoRequest;

// A result that is none: the holder hands the volume over, the request has no effect that matters,
// and its owner leaves it to the next server or submits it again.
inline constexpr int kGivenBack = INT_MIN;

// Gets its requests back, exactly once each. `result` is 0 or a negative errno (-EIO, -ENOSPC,
// -EINVAL), or kGivenBack. May be called from inside Submit().
class IoOwner {
 public:
  virtual void OnIoDone(IoRequest* request, int result) = 0;

 protected:
  ~IoOwner() = default;
};

// One block request. The transport owns it and its data from Submit() to OnIoDone(); both stay put
// meanwhile. offset_bytes and length_bytes are multiples of kBlockBytes and lie inside the device
// (the transport has checked both); a flush has neither.
struct IoRequest {
  IoOp op = IoOp::kRead;
  bool fua = false;  // write, discard, write-zeroes: durable before OnIoDone
  uint64_t offset_bytes = 0;
  uint32_t length_bytes = 0;
  std::byte* data = nullptr;  // length_bytes: source of a write, destination of a read
  IoOwner* owner = nullptr;
  IoRequest* next = nullptr;  // for the holder's queue; transports leave it alone
  uint64_t scratch[2] = {};   // for the holder; transports leave it alone
};

class BlockDevice {
 public:
  // Takes the request. Writes of one round are committed together at the round's end
  // (Loop::RoundOrder::kCommit); replies may be gathered until RoundOrder::kReply.
  virtual void Submit(IoRequest* request) = 0;
  [[nodiscard]] virtual uint64_t size_bytes() const = 0;

 protected:
  ~BlockDevice() = default;
};

}  // namespace weir
