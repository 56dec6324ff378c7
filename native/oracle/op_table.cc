// Building the table from the log.
#include "oracle/op_table.h"

#include <algorithm>

namespace weir::oracle {

OpTable::OpTable(const History& history) : first_id_(history.first_id) {
  for (uint64_t at = 0; at < history.records.size(); ++at) {
    const LogRecord& record = history.records[at];
    if (record.kind == RecordKind::kSubmit) {
      WEIR_CHECK(record.id == next_id());
      ops_.push_back(LoggedOp{.submit_at = at,
                              .first_block = record.first_block,
                              .block_count = record.block_count,
                              .op = record.op,
                              .fua = (record.flags & kFuaFlag) != 0});
    } else if (record.kind == RecordKind::kAck && record.result == 0) {
      WEIR_CHECK(record.id >= first_id_ && record.id < next_id());
      ops_[record.id - first_id_].ack_at = at;
    }
  }
}

uint64_t OpTable::CountOpen() const noexcept {
  return static_cast<uint64_t>(
      std::ranges::count(ops_, kNever, [](const LoggedOp& op) { return op.ack_at; }));
}

}  // namespace weir::oracle
