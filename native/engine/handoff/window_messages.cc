#include "engine/handoff/window_messages.h"

#include <algorithm>
#include <cstring>

namespace weir::window {
namespace {

constexpr size_t kReasonBytesMax = 512;

struct Head {
  uint32_t magic = 0x4e495757;  // "WWIN"
  uint32_t version = kVersion;
  uint16_t kind = 0;
  uint16_t reason_bytes = 0;
  uint32_t batch = 0;
};
static_assert(sizeof(Head) == 16);

bool OfVolume(Kind kind) { return kind == Kind::kFrozen || kind == Kind::kServing; }

}  // namespace

std::vector<std::byte> Encode(const Message& message) {
  const size_t reason_bytes = std::min(message.reason.size(), kReasonBytesMax);
  const Head head{.kind = static_cast<uint16_t>(message.kind),
                  .reason_bytes = static_cast<uint16_t>(reason_bytes),
                  .batch = message.batch};
  std::vector<std::byte> bytes(sizeof(head));
  std::memcpy(bytes.data(), &head, sizeof(head));
  if (OfVolume(message.kind)) {
    bytes.resize(sizeof(head) + sizeof(VolumeBody));
    std::memcpy(bytes.data() + sizeof(head), &message.volume, sizeof(VolumeBody));
  }
  const auto* reason = reinterpret_cast<const std::byte*>(message.reason.data());
  bytes.insert(bytes.end(), reason, reason + reason_bytes);
  return bytes;
}

std::optional<Message> Decode(std::span<const std::byte> bytes) {
  Head head;
  const uint32_t magic = head.magic;
  if (bytes.size() < sizeof(head)) return std::nullopt;
  std::memcpy(&head, bytes.data(), sizeof(head));
  Message message{
      .kind = static_cast<Kind>(head.kind), .volume = {}, .reason = {}, .batch = head.batch};
  const size_t body = OfVolume(message.kind) ? sizeof(VolumeBody) : 0;
  const bool known = head.kind >= static_cast<uint16_t>(Kind::kReady) &&
                     head.kind <= static_cast<uint16_t>(Kind::kKept);
  if (head.magic != magic || head.version != kVersion || !known ||
      bytes.size() != sizeof(head) + body + head.reason_bytes) {
    return std::nullopt;
  }
  if (body > 0) std::memcpy(&message.volume, bytes.data() + sizeof(head), body);
  if (message.volume.transport > static_cast<uint8_t>(Transport::kUblk)) return std::nullopt;
  const auto* reason = reinterpret_cast<const char*>(bytes.data()) + sizeof(head) + body;
  message.reason.assign(reason, head.reason_bytes);
  return message;
}

JournalHandover HandoverOf(const VolumeBody& body) noexcept {
  return {.committed_seq = body.committed_seq,
          .synced_seq = body.synced_seq,
          .next_number = body.next_number,
          .newest_number = body.newest_number,
          .newest_end = body.newest_end,
          .newest_sealed = body.newest_sealed != 0};
}

Uid UidOf(const VolumeBody& body) noexcept {
  Uid uid;
  std::copy(std::begin(body.uid), std::end(body.uid), uid.bytes.begin());
  return uid;
}

}  // namespace weir::window
