// The handshake of one NBD connection as a pure state machine: bytes in, bytes out, no I/O. What a
// hostile client can make it hold is bounded by kOptionDataBytesMax and kOptionsMax.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/nbd/nbd_protocol.h"

namespace weir {

class NbdNegotiation {
 public:
  enum class Phase : uint8_t { kClientFlags, kOptions, kTransmission, kClosed };
  // A longer option, or more options than anyone needs, closes the connection.
  static constexpr uint32_t kOptionDataBytesMax = 8192;
  static constexpr uint32_t kOptionsMax = 64;

  explicit NbdNegotiation(std::string export_name) : export_name_(std::move(export_name)) {}

  // What the server says first.
  static void AppendGreeting(std::vector<std::byte>& out);
  // Takes whole messages from the front of `in`, appends the answers to `out` and returns how many
  // bytes it took. `size_bytes` is the device's size now. Call again with the rest and more bytes
  // until phase() is kTransmission (the rest are requests) or kClosed (send `out`, then close).
  size_t Consume(std::span<const std::byte> in, uint64_t size_bytes, std::vector<std::byte>& out);
  [[nodiscard]] Phase phase() const noexcept { return phase_; }

  // Where the handshake stands, so that another process can go on with it.
  struct Progress {
    Phase phase = Phase::kClientFlags;
    bool no_zeroes = false;
    uint32_t options = 0;
  };
  [[nodiscard]] Progress progress() const noexcept { return {phase_, no_zeroes_, options_}; }
  void GoOn(const Progress& progress) noexcept {
    phase_ = progress.phase;
    no_zeroes_ = progress.no_zeroes;
    options_ = progress.options;
  }

 private:
  size_t ConsumeClientFlags(std::span<const std::byte> in);
  size_t ConsumeOption(std::span<const std::byte> in, uint64_t size_bytes,
                       std::vector<std::byte>& out);
  void AnswerExportName(std::span<const std::byte> data, uint64_t size_bytes,
                        std::vector<std::byte>& out);
  void AnswerList(std::span<const std::byte> data, std::vector<std::byte>& out) const;
  void AnswerInfo(nbd::Option option, std::span<const std::byte> data, uint64_t size_bytes,
                  std::vector<std::byte>& out);
  // The empty name asks for the default export, which is the only one.
  [[nodiscard]] bool IsOurName(std::string_view name) const noexcept {
    return name.empty() || name == export_name_;
  }

  std::string export_name_;
  Phase phase_ = Phase::kClientFlags;
  bool no_zeroes_ = false;
  uint32_t options_ = 0;
};

}  // namespace weir
