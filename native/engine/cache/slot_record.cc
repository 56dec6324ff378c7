// Slot records as bytes.
#include "engine/cache/slot_record.h"

#include "engine/base/crc32c.h"
#include "engine/cache/frame_index.h"
#include "engine/segment/wire.h"

namespace weir {
namespace {

constexpr uint32_t kMagic = 0x52434357;  // "WCCR"
constexpr uint32_t kVersion = 1;
constexpr size_t kSegmentAt = 8;
constexpr size_t kOffsetAt = 40;
constexpr size_t kSlotAt = 44;
constexpr size_t kValidAt = 48;
constexpr size_t kFrameBlocksAt = 52;
constexpr size_t kChecksumsAt = 56;
constexpr size_t kChecksumAt = 252;
static_assert(kChecksumsAt + kFrameBlocksMax * sizeof(uint32_t) <= kChecksumAt);
static_assert(kChecksumAt + sizeof(uint32_t) == kSlotRecordBytes);

}  // namespace

SlotRecordBytes EncodeSlotRecord(uint32_t slot, const SlotRecord& record) noexcept {
  SlotRecordBytes bytes{};
  std::byte* at = bytes.data();
  wire::Store<uint32_t>(at, kMagic);
  wire::Store<uint32_t>(at + 4, kVersion);
  wire::StoreSegmentId(at + kSegmentAt, record.key.segment);
  wire::Store<uint32_t>(at + kOffsetAt, record.key.offset);
  wire::Store<uint32_t>(at + kSlotAt, slot);
  wire::Store<uint32_t>(at + kValidAt, record.valid);
  wire::Store<uint32_t>(at + kFrameBlocksAt, record.frame_blocks);
  for (size_t i = 0; i < record.checksums.size(); ++i) {
    wire::Store<uint32_t>(at + kChecksumsAt + i * sizeof(uint32_t), record.checksums[i]);
  }
  wire::Store<uint32_t>(at + kChecksumAt, Crc32c(std::span(bytes).first(kChecksumAt)));
  return bytes;
}

bool DecodeSlotRecord(uint32_t slot, std::span<const std::byte, kSlotRecordBytes> bytes,
                      SlotRecord* record) noexcept {
  const std::byte* at = bytes.data();
  if (wire::Load<uint32_t>(at) != kMagic || wire::Load<uint32_t>(at + 4) != kVersion ||
      wire::Load<uint32_t>(at + kSlotAt) != slot ||
      wire::Load<uint32_t>(at + kChecksumAt) != Crc32c(bytes.first(kChecksumAt))) {
    return false;
  }
  record->key = {wire::LoadSegmentId(at + kSegmentAt), wire::Load<uint32_t>(at + kOffsetAt)};
  record->valid = wire::Load<uint32_t>(at + kValidAt);
  record->frame_blocks = wire::Load<uint32_t>(at + kFrameBlocksAt);
  if (record->valid == 0 || record->frame_blocks == 0 || record->frame_blocks > kFrameBlocksMax ||
      (record->valid & ~BlockMask(0, record->frame_blocks)) != 0) {
    return false;
  }
  for (size_t i = 0; i < record->checksums.size(); ++i) {
    record->checksums[i] = wire::Load<uint32_t>(at + kChecksumsAt + i * sizeof(uint32_t));
  }
  return true;
}

}  // namespace weir
