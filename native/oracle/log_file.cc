// Opening, checking, appending and replacing a log.
#include "oracle/log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace weir::oracle {
namespace {

Result<void> WriteAll(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error{errno, "cannot append to the log"};
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<void> WriteHeader(int fd, LogHeader header) {
  header.check = CheckOf(header);
  return WriteAll(fd, std::as_bytes(std::span(&header, 1)));
}

Result<void> WriteRecords(int fd, std::span<LogRecord> records) {
  for (LogRecord& record : records) record.check = CheckOf(record);
  return WriteAll(fd, std::as_bytes(records));
}

bool IsSound(const LogHeader& header) {
  return header.magic == kLogMagic && header.version == 1 &&
         header.record_bytes == sizeof(LogRecord) && header.check == CheckOf(header);
}

}  // namespace

Result<LogView> LogView::Open(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error{errno, "cannot open the log"};
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Error{errno, "cannot read the size of the log"};
  const size_t bytes = static_cast<size_t>(status.st_size);
  if (bytes < sizeof(LogHeader)) return Error{EINVAL, "the log is shorter than its header"};
  void* base = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (base == MAP_FAILED) return Error{errno, "cannot map the log"};
  LogView view(base, bytes);
  if (auto checked = view.Check(); !checked.ok()) return checked.error();
  return view;
}

Result<void> LogView::Check() {
  LogHeader header;
  std::memcpy(&header, base_, sizeof(header));
  if (!IsSound(header)) return Error{EINVAL, "the log's header is damaged"};
  const auto* first =
      reinterpret_cast<const LogRecord*>(static_cast<const std::byte*>(base_) + sizeof(LogHeader));
  history_ = History{.lineage = header.lineage,
                     .blocks = header.blocks,
                     .first_id = header.first_id,
                     .records = {first, (bytes_ - sizeof(LogHeader)) / sizeof(LogRecord)}};
  uint64_t next_id = history_.first_id;
  for (const LogRecord& record : history_.records) {
    if (record.check != CheckOf(record)) return Error{EINVAL, "a record of the log is damaged"};
    if (record.kind == RecordKind::kRun) {
      history_.blocks = std::max(history_.blocks, record.first_block);
    }
    if (record.kind == RecordKind::kSubmit && record.id != next_id++) {
      return Error{EINVAL, "the log's operations are not numbered in order"};
    }
    const bool answered = record.kind == RecordKind::kAck;
    if (answered && (record.id < history_.first_id || record.id >= next_id)) {
      return Error{EINVAL, "the log acknowledges an operation that it does not hold"};
    }
    if (record.first_block + record.block_count > history_.blocks) {
      return Error{EINVAL, "the log names blocks behind the end of the device"};
    }
  }
  return {};
}

Result<LogWriter> LogWriter::Open(const OpenOptions& options) {
  UniqueFd fd(::open(options.path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return Error{errno, "cannot open the log"};
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return Error{errno, "the log is in use by another run"};
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return Error{errno, "cannot read the size of the log"};
  if (static_cast<size_t>(status.st_size) < sizeof(LogHeader)) {
    if (::ftruncate(fd.get(), 0) != 0) return Error{errno, "cannot start the log"};
    const LogHeader header{.lineage = options.lineage, .blocks = options.blocks};
    if (auto written = WriteHeader(fd.get(), header); !written.ok()) return written.error();
  } else {
    const size_t torn =
        (static_cast<size_t>(status.st_size) - sizeof(LogHeader)) % sizeof(LogRecord);
    if (::ftruncate(fd.get(), status.st_size - static_cast<off_t>(torn)) != 0) {
      return Error{errno, "cannot cut the log's half-written end"};
    }
  }
  return LogWriter(std::move(fd));
}

Result<void> LogWriter::Append(std::span<LogRecord> records) {
  return WriteRecords(fd_.get(), records);
}

Result<void> ReplaceLog(const std::string& path, LogHeader header, std::span<LogRecord> records) {
  const std::string fresh = path + ".new";
  const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return Error{errno, "cannot create the settled log"};
  if (auto written = WriteHeader(fd.get(), header); !written.ok()) return written;
  if (auto written = WriteRecords(fd.get(), records); !written.ok()) return written;
  if (::fsync(fd.get()) != 0) return Error{errno, "cannot sync the settled log"};
  if (::rename(fresh.c_str(), path.c_str()) != 0) return Error{errno, "cannot replace the log"};
  return {};
}

}  // namespace weir::oracle
