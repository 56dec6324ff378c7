// The messages of the window, in which volumes change hands. Everything before and after it is JSON
// (csi-node/handoff/PROTOCOL.md); a message of the window never begins with '{'.
//
// Successor                              Predecessor
//   Ready                          ->
//                                  <-      Rest        journals' background work has stopped
//   Rested                         ->                  the successor knows every file
//                                  <-      Frozen      per volume, with descriptors; at rest, left
//   (claims the next generation, once)
//   Serving                        ->                  per volume
//                                          the next batch of volumes: Frozen, Serving, ...
//   Taken                          ->                  the end
// Instead, Refused by the successor (before its claim) or Kept by the predecessor (after its own,
// or when it goes on with what it has not passed).
//
// All numbers are little-endian. A change of anything here, or of nbd_handover_state.h, is a new
// window version, which the two sides agree on before the window. A successor that does not name
// the capability window-batches reads no `batch`, so it is sent 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/types.h"
#include "engine/journal/journal.h"

namespace weir::window {

inline constexpr uint32_t kVersion = 1;

enum class Kind : uint16_t {
  kReady = 1,
  kRest = 2,
  kRested = 3,
  kFrozen = 4,
  kServing = 5,
  kTaken = 6,
  kRefused = 7,
  kKept = 8,
};

enum class Transport : uint8_t { kNone = 0, kNbd = 1, kUblk = 2 };

// Kinds that say something of one volume carry this; its descriptors are, in order: the journal's
// lock; for NBD a memfd with the connections' state, the listening socket, the connections.
struct VolumeBody {
  std::byte uid[16] = {};
  uint64_t committed_seq = 0;
  uint64_t synced_seq = 0;
  uint32_t next_number = 0;
  uint32_t newest_number = 0;
  uint32_t newest_end = 0;
  uint8_t newest_sealed = 0;
  uint8_t transport = 0;
  uint16_t ublk_depth = 0;
  uint32_t ublk_id = 0;
  uint32_t ublk_max_io_bytes = 0;
  uint64_t frozen_ns = 0;   // CLOCK_MONOTONIC: no request was started any more
  uint64_t rested_ns = 0;   // what was started has ended
  uint64_t left_ns = 0;     // the device can be taken
  uint64_t claimed_ns = 0;  // kServing: the generation was claimed
  uint64_t serving_ns = 0;  // kServing: requests are served again
};
static_assert(sizeof(VolumeBody) == 96);

struct Message {
  Kind kind = Kind::kReady;
  VolumeBody volume;   // kFrozen, kServing
  std::string reason;  // kRefused, kKept
  // kFrozen: so many volumes change hands before the next ones are frozen. 0: all that are left.
  uint32_t batch = 0;
};

[[nodiscard]] std::vector<std::byte> Encode(const Message& message);
// Nothing: not a message of this version.
[[nodiscard]] std::optional<Message> Decode(std::span<const std::byte> bytes);

[[nodiscard]] JournalHandover HandoverOf(const VolumeBody& body) noexcept;
[[nodiscard]] Uid UidOf(const VolumeBody& body) noexcept;

}  // namespace weir::window
