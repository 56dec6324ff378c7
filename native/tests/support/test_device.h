// A block device in memory whose answers a test can hold back.
//
// Thread: the loop thread, except for the atomics.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "engine/volume/block_device.h"

namespace weir {

class TestDevice final : public BlockDevice {
 public:
  struct Seen {
    IoOp op;
    bool fua;
    uint64_t offset_bytes;
    uint32_t length_bytes;
  };

  explicit TestDevice(uint64_t size_bytes) : bytes_(size_bytes) {}

  void Submit(IoRequest* request) override {
    seen.push_back(Seen{request->op, request->fua, request->offset_bytes, request->length_bytes});
    ++submitted;
    if (hold) {
      held_.push_back(request);
      return;
    }
    Answer(request);
  }
  [[nodiscard]] uint64_t size_bytes() const override { return bytes_.size(); }

  // Answers the held requests that are there now, newest first when `reversed`.
  void Release(bool reversed = false) {
    std::deque<IoRequest*> held;
    held.swap(held_);
    while (!held.empty()) {
      IoRequest* request = reversed ? held.back() : held.front();
      reversed ? held.pop_back() : held.pop_front();
      Answer(request);
    }
  }

  bool hold = false;
  int result = 0;  // of every request from now on
  std::vector<Seen> seen;
  std::atomic<int> submitted{0};  // any thread may read it

 private:
  void Answer(IoRequest* request) {
    std::byte* at = bytes_.data() + request->offset_bytes;
    if (result == 0) {
      switch (request->op) {
        case IoOp::kRead:
          std::memcpy(request->data, at, request->length_bytes);
          break;
        case IoOp::kWrite:
          std::memcpy(at, request->data, request->length_bytes);
          break;
        case IoOp::kDiscard:
        case IoOp::kWriteZeroes:
          std::memset(at, 0, request->length_bytes);
          break;
        case IoOp::kFlush:
          break;
      }
    }
    request->owner->OnIoDone(request, result);
  }

  std::vector<std::byte> bytes_;
  std::deque<IoRequest*> held_;
};

}  // namespace weir
