// The ublk kernel interface as far as Weir uses it (Documentation/block/ublk.rst; Linux 6.7
// to 7.2). Kept here because the distribution's headers are older than the kernels that Weir runs
// on; what a kernel really offers is asked with GET_FEATURES.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace weir::ublk {

// ---- control: 80-byte commands (SQE128) on /dev/ublk-control ----

struct ControlCommand {
  uint32_t dev_id = 0;
  uint16_t queue_id = 0xffff;  // "none"; anything else is refused by most commands
  uint16_t len = 0;            // of the buffer at addr
  uint64_t addr = 0;
  uint64_t data = 0;
  uint16_t dev_path_len = 0;
  uint16_t pad = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(ControlCommand) == 32);

struct DeviceInfo {
  uint16_t nr_hw_queues = 0;
  uint16_t queue_depth = 0;
  uint16_t state = 0;
  uint16_t pad0 = 0;
  uint32_t max_io_buf_bytes = 0;
  uint32_t dev_id = 0;
  int32_t server_pid = 0;
  uint32_t pad1 = 0;
  uint64_t flags = 0;
  uint64_t server_flags = 0;
  uint32_t owner_uid = 0;
  uint32_t owner_gid = 0;
  uint64_t reserved1 = 0;
  uint64_t reserved2 = 0;
};
static_assert(sizeof(DeviceInfo) == 64);

struct BasicParams {
  uint32_t attrs = 0;
  uint8_t logical_bs_shift = 0;
  uint8_t physical_bs_shift = 0;
  uint8_t io_opt_shift = 0;
  uint8_t io_min_shift = 0;
  uint32_t max_sectors = 0;
  uint32_t chunk_sectors = 0;
  uint64_t dev_sectors = 0;
  uint64_t virt_boundary_mask = 0;
};
static_assert(sizeof(BasicParams) == 32);

struct DiscardParams {
  uint32_t alignment = 0;
  uint32_t granularity = 0;
  uint32_t max_sectors = 0;
  uint32_t max_write_zeroes_sectors = 0;
  uint16_t max_segments = 0;
  uint16_t reserved = 0;
};
static_assert(sizeof(DiscardParams) == 20);

// The kernel reads and writes at most `len` bytes, so parameters that it knows beyond these stay
// zero.
struct Params {
  uint32_t len = 0;
  uint32_t types = 0;
  BasicParams basic;
  DiscardParams discard;
  uint32_t unused = 0;
};
static_assert(sizeof(Params) == 64);

inline constexpr uint32_t kParamBasic = 1U << 0;
inline constexpr uint32_t kParamDiscard = 1U << 1;
inline constexpr uint32_t kAttrVolatileCache = 1U << 2;
inline constexpr uint32_t kAttrFua = 1U << 3;

inline constexpr uint64_t kFeatureUserRecovery = 1ULL << 3;         // 6.1
inline constexpr uint64_t kFeatureUserRecoveryReissue = 1ULL << 4;  // 6.1
inline constexpr uint64_t kFeatureCmdIoctlEncode = 1ULL << 6;       // 6.4
inline constexpr uint64_t kFeatureUserCopy = 1ULL << 7;             // 6.5
inline constexpr uint64_t kFeatureUpdateSize = 1ULL << 10;          // 6.16
inline constexpr uint64_t kFeatureQuiesce = 1ULL << 12;             // 6.16
inline constexpr uint64_t kFeatureNoAutoPartScan = 1ULL << 18;      // 7.0

template <typename T>
constexpr uint32_t Encode(uint32_t direction, uint32_t number) noexcept {
  return static_cast<uint32_t>(_IOC(direction, 'u', number, sizeof(T)));
}

inline constexpr uint32_t kRead = _IOC_READ;
inline constexpr uint32_t kReadWrite = _IOC_READ | _IOC_WRITE;
inline constexpr uint32_t kGetDeviceInfo = Encode<ControlCommand>(kRead, 0x02);
inline constexpr uint32_t kAddDevice = Encode<ControlCommand>(kReadWrite, 0x04);
inline constexpr uint32_t kDeleteDevice = Encode<ControlCommand>(kReadWrite, 0x05);
inline constexpr uint32_t kStartDevice = Encode<ControlCommand>(kReadWrite, 0x06);
inline constexpr uint32_t kStopDevice = Encode<ControlCommand>(kReadWrite, 0x07);
inline constexpr uint32_t kSetParams = Encode<ControlCommand>(kReadWrite, 0x08);
inline constexpr uint32_t kGetParams = Encode<ControlCommand>(kRead, 0x09);
inline constexpr uint32_t kStartUserRecovery = Encode<ControlCommand>(kReadWrite, 0x10);
inline constexpr uint32_t kEndUserRecovery = Encode<ControlCommand>(kReadWrite, 0x11);
inline constexpr uint32_t kGetFeatures = Encode<ControlCommand>(kRead, 0x13);
inline constexpr uint32_t kUpdateSize = Encode<ControlCommand>(kReadWrite, 0x15);
inline constexpr uint32_t kQuiesceDevice = Encode<ControlCommand>(kReadWrite, 0x16);
static_assert(kAddDevice == 0xc0207504U && kGetFeatures == 0x80207513U);

// ---- data: 16-byte commands on /dev/ublkcN ----

struct IoCommand {
  uint16_t queue_id = 0;
  uint16_t tag = 0;
  int32_t result = 0;
  uint64_t addr = 0;  // must be 0 with USER_COPY
};
static_assert(sizeof(IoCommand) == 16);

// One per tag in the mapping of ublkc; valid from a fetch's completion to its commit.
struct IoDescriptor {
  uint32_t op_flags = 0;  // low byte: operation
  uint32_t sectors = 0;
  uint64_t start_sector = 0;
  uint64_t addr = 0;
};
static_assert(sizeof(IoDescriptor) == 24);

inline constexpr uint32_t kFetch = Encode<IoCommand>(kReadWrite, 0x20);
inline constexpr uint32_t kCommitAndFetch = Encode<IoCommand>(kReadWrite, 0x21);
static_assert(kFetch == 0xc0107520U);

inline constexpr uint32_t kOpRead = 0;
inline constexpr uint32_t kOpWrite = 1;
inline constexpr uint32_t kOpFlush = 2;
inline constexpr uint32_t kOpDiscard = 3;
inline constexpr uint32_t kOpWriteZeroes = 5;
inline constexpr uint32_t kOpMask = 0xff;
inline constexpr uint32_t kFlagFua = 1U << 13;

inline constexpr uint32_t kSectorShift = 9;
inline constexpr uint32_t kQueueDepthMax = 4096;

// With USER_COPY the data of request (queue, tag) is a file range of ublkc.
[[nodiscard]] constexpr uint64_t UserCopyOffset(uint32_t queue, uint32_t tag) noexcept {
  return 0x80000000ULL + (static_cast<uint64_t>(queue) << 41) + (static_cast<uint64_t>(tag) << 25);
}

}  // namespace weir::ublk
