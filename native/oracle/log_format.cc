// Checksums of the log's header and records.
#include "oracle/log_format.h"

#include <bit>

#include "oracle/random.h"

namespace weir::oracle {

uint64_t CheckOf(const LogHeader& header) noexcept {
  uint64_t sum = Mix(header.version + (static_cast<uint64_t>(header.record_bytes) << 32));
  for (const uint64_t word : {header.lineage, header.blocks, header.first_id}) {
    sum = Mix(sum ^ word);
  }
  return sum;
}

uint32_t CheckOf(const LogRecord& record) noexcept {
  LogRecord bare = record;
  bare.check = 0;
  uint64_t sum = 0;
  for (const uint64_t word : std::bit_cast<std::array<uint64_t, 4>>(bare))
    sum = Mix(sum ^ word) + 1;
  return static_cast<uint32_t>(sum);
}

}  // namespace weir::oracle
