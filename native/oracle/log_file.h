// The log as a file: appended by a run, mapped by everybody else, replaced whole when it is
// settled.
#pragma once

#include <sys/mman.h>

#include <span>
#include <string>
#include <utility>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "oracle/log_format.h"

namespace weir::oracle {

// What happened to a device, as far as the log goes back. Views memory that somebody else owns.
struct History {
  uint64_t lineage = 0;
  uint64_t blocks = 0;
  uint64_t first_id = 1;
  std::span<const LogRecord> records;
};

// A read-only mapping of a log. A half-written last record (the writer was killed) does not count.
class LogView {
 public:
  [[nodiscard]] static Result<LogView> Open(const std::string& path);
  LogView(LogView&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        bytes_(other.bytes_),
        history_(other.history_) {}
  LogView& operator=(LogView&&) = delete;
  ~LogView() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
  }

  [[nodiscard]] const History& history() const noexcept { return history_; }

 private:
  LogView(void* base, size_t bytes) noexcept : base_(base), bytes_(bytes) {}
  [[nodiscard]] Result<void> Check();

  void* base_;
  size_t bytes_;
  History history_;
};

// The one process that may append. Each Append is one write(), so that what was appended survives
// the death of this process; the log must lie on a file system that survives what is being tested.
class LogWriter {
 public:
  struct OpenOptions {
    std::string path;
    uint64_t lineage = 0;  // of a log that does not exist yet
    uint64_t blocks = 0;
  };
  // Opens or creates the log and locks it against a second writer.
  [[nodiscard]] static Result<LogWriter> Open(const OpenOptions& options);
  // Sets the records' checksums and appends them.
  [[nodiscard]] Result<void> Append(std::span<LogRecord> records);

 private:
  explicit LogWriter(UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Puts a new log of only a header and base records in the place of `path`, atomically.
[[nodiscard]] Result<void> ReplaceLog(const std::string& path, LogHeader header,
                                      std::span<LogRecord> records);

}  // namespace weir::oracle
