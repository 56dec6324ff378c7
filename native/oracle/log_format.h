// The oracle's log: one header, then fixed records, only ever appended. The place of a record in
// the log is the order of its event: an operation was submitted after another was acknowledged
// exactly when its submit record stands behind the other's ack record.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace weir::oracle {

inline constexpr std::array<char, 8> kLogMagic = {'W', 'E', 'I', 'R', 'O', 'R', 'A', '1'};

enum class Op : uint8_t { kRead = 0, kWrite = 1, kTrim = 2, kZero = 3, kFlush = 4 };

[[nodiscard]] constexpr bool IsWriteLike(Op op) noexcept {
  return op == Op::kWrite || op == Op::kTrim || op == Op::kZero;
}
[[nodiscard]] constexpr bool MakesZeroes(Op op) noexcept {
  return op == Op::kTrim || op == Op::kZero;
}

struct BlockRange {
  uint64_t first_block = 0;
  uint32_t block_count = 0;
};

enum class RecordKind : uint8_t {
  kBase = 1,     // the device held version `id` on these blocks when the log was settled
  kRun = 2,      // a run began; block_count is 0, first_block the number of blocks in use
  kSubmit = 3,   // operation `id` is about to be sent
  kAck = 4,      // operation `id` was answered with `result` (0 or a negative errno)
  kObserve = 5,  // a read found version `id` where a crash had left more than one possible
};

struct LogHeader {
  std::array<char, 8> magic = kLogMagic;
  uint32_t version = 1;
  uint32_t record_bytes = 32;
  uint64_t lineage = 0;   // names this history in every stamp
  uint64_t blocks = 0;    // device size in blocks; a later run may have grown it
  uint64_t first_id = 1;  // operations before this one are only known as versions of the base
  uint64_t reserved[2] = {};
  uint64_t check = 0;
};
static_assert(sizeof(LogHeader) == 64 && std::is_trivially_copyable_v<LogHeader>);

inline constexpr uint8_t kFuaFlag = 1;
inline constexpr uint8_t kZeroesFlag = 2;  // of kBase and kObserve: the version reads as zeroes

struct LogRecord {
  uint32_t check = 0;
  RecordKind kind = RecordKind::kSubmit;
  Op op = Op::kRead;
  uint8_t flags = 0;
  uint8_t reserved = 0;
  uint64_t id = 0;
  uint64_t first_block = 0;
  uint32_t block_count = 0;
  int32_t result = 0;
};
static_assert(sizeof(LogRecord) == 32 && std::is_trivially_copyable_v<LogRecord>);

[[nodiscard]] uint64_t CheckOf(const LogHeader& header) noexcept;
[[nodiscard]] uint32_t CheckOf(const LogRecord& record) noexcept;

}  // namespace weir::oracle
