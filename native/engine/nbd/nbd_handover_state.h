// The state of NBD connections as bytes, between two engines of one node. Part of the window's
// protocol version (handoff/window_messages.h): a change here is a change there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/nbd/nbd_connection.h"

namespace weir {

struct NbdHandoverHead {
  uint32_t magic = 0x4448424e;  // "NBHD"
  uint8_t phase = 0;
  uint8_t no_zeroes = 0;
  uint8_t draining = 0;
  uint8_t reserved = 0;
  uint32_t options = 0;
  uint32_t reserved2 = 0;
  uint64_t skip_bytes = 0;
  uint64_t input_bytes = 0;
  uint64_t output_bytes = 0;
};
static_assert(sizeof(NbdHandoverHead) == 40);

void EncodeNbdHandover(const NbdConnection::Handover& from, std::vector<std::byte>& to);
// Takes one from the front of `bytes`; nothing when they do not verify.
std::optional<NbdConnection::Handover> DecodeNbdHandover(std::span<const std::byte>& bytes);

}  // namespace weir
