// The journal's folder on a real file system.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "engine/base/unique_fd.h"
#include "engine/journal/journal_disk.h"

namespace weir::journal {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

// Drops the first `bytes` of the vectors; returns those that are left.
std::span<iovec> Advance(std::span<iovec> parts, size_t bytes) {
  while (!parts.empty() && bytes >= parts.front().iov_len) {
    bytes -= parts.front().iov_len;
    parts = parts.subspan(1);
  }
  if (bytes > 0) {
    parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + bytes;
    parts.front().iov_len -= bytes;
  }
  return parts;
}

int CountOf(std::span<iovec> parts) {
  return static_cast<int>(std::min<size_t>(parts.size(), IOV_MAX));
}

class PosixDisk final : public JournalDisk {
 public:
  explicit PosixDisk(std::string directory) : path_(std::move(directory)) {}

  Result<void> Lock() override;
  [[nodiscard]] int lock_fd() const override { return lock_.get(); }
  Result<void> TakeLock(UniqueFd lock) override;
  Result<std::vector<std::string>> List() override;
  Result<int> Open(const std::string& name, OpenMode mode) override;
  void Close(int fd) override { ::close(fd); }
  Result<uint64_t> Size(int fd) override;
  Result<uint64_t> Read(int fd, std::span<iovec> parts, uint64_t offset) override;
  Result<void> Write(int fd, std::span<iovec> parts, uint64_t offset) override;
  Result<void> Sync(int fd) override;
  // A hint by its name, but clean pages that nobody maps do go.
  void DropCache(int fd) override { (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }
  Result<void> Preallocate(int fd, uint64_t bytes) override;
  Result<void> Rename(const std::string& from, const std::string& to) override;
  Result<void> Remove(const std::string& name) override;
  Result<void> SyncDirectory() override;

 private:
  Result<void> MakeDirectory();
  Result<void> OpenDirectory();

  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;
};

Result<void> PosixDisk::OpenDirectory() {
  if (directory_.valid()) return {};
  directory_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_.valid()) return Error{errno, "cannot open the journal's folder"};
  return {};
}

Result<void> PosixDisk::MakeDirectory() {
  if (::mkdir(path_.c_str(), kDirectoryMode) != 0) {
    return errno == EEXIST ? Result<void>{} : Error{errno, "cannot make the journal's folder"};
  }
  const size_t end = path_.find_last_not_of('/');
  const size_t slash = path_.find_last_of('/', end);
  const std::string parent =
      slash == std::string::npos ? "." : path_.substr(0, std::max<size_t>(slash, 1));
  const UniqueFd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return Error{errno, "cannot sync the folder above the journal"};
  }
  return {};
}

Result<void> PosixDisk::Lock() {
  if (const auto made = MakeDirectory(); !made.ok()) return made;
  if (const auto opened = OpenDirectory(); !opened.ok()) return opened;
  lock_ = UniqueFd(::openat(directory_.get(), "lock", O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!lock_.valid()) return Error{errno, "cannot open the journal's lock file"};
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(lock_.get(), F_OFD_SETLK, &whole) != 0) {
    const bool held = errno == EAGAIN || errno == EACCES;
    return Error{held ? EBUSY : errno, "cannot lock the journal: another process has it open"};
  }
  return {};
}

Result<void> PosixDisk::TakeLock(UniqueFd lock) {
  if (const auto opened = OpenDirectory(); !opened.ok()) return opened;
  struct stat passed {};
  struct stat ours {};
  if (::fstat(lock.get(), &passed) != 0 ||
      ::fstatat(directory_.get(), "lock", &ours, AT_SYMLINK_NOFOLLOW) != 0) {
    return Error{errno, "cannot look at the journal's lock file"};
  }
  if (passed.st_dev != ours.st_dev || passed.st_ino != ours.st_ino) {
    return Error{EXDEV, "the lock that was handed over is not that of this journal"};
  }
  lock_ = std::move(lock);
  return {};
}

Result<std::vector<std::string>> PosixDisk::List() {
  if (const auto opened = OpenDirectory(); !opened.ok()) return opened.error();
  const int fd = ::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = fd < 0 ? nullptr : ::fdopendir(fd);
  if (stream == nullptr) return Error{errno, "cannot list the journal's folder"};
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
  const int code = errno;
  ::closedir(stream);
  if (code != 0) return Error{code, "cannot list the journal's folder"};
  return names;
}

Result<int> PosixDisk::Open(const std::string& name, OpenMode mode) {
  if (const auto opened = OpenDirectory(); !opened.ok()) return opened.error();
  const int flags =
      O_RDWR | O_CLOEXEC | O_NOFOLLOW | (mode == OpenMode::kMakeEmpty ? O_CREAT | O_TRUNC : 0);
  const int fd = ::openat(directory_.get(), name.c_str(), flags, kFileMode);
  if (fd < 0) return Error{errno, "cannot open a file of the journal"};
  return fd;
}

Result<uint64_t> PosixDisk::Size(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Error{errno, "cannot stat a file of the journal"};
  return static_cast<uint64_t>(status.st_size);
}

Result<uint64_t> PosixDisk::Read(int fd, std::span<iovec> parts, uint64_t offset) {
  uint64_t total = 0;
  while (!parts.empty()) {
    const ssize_t got =
        ::preadv(fd, parts.data(), CountOf(parts), static_cast<off_t>(offset + total));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{errno, "cannot read the journal"};
    if (got == 0) break;
    total += static_cast<uint64_t>(got);
    parts = Advance(parts, static_cast<size_t>(got));
  }
  return total;
}

Result<void> PosixDisk::Write(int fd, std::span<iovec> parts, uint64_t offset) {
  while (!parts.empty()) {
    const auto at = static_cast<off_t>(offset);
    // A commit is one part, for which the kernel need not fetch a vector.
    const ssize_t put = parts.size() == 1 ? ::pwrite(fd, parts[0].iov_base, parts[0].iov_len, at)
                                          : ::pwritev(fd, parts.data(), CountOf(parts), at);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error{errno, "cannot write the journal"};
    if (put == 0) return Error{EIO, "cannot write the journal: the disk takes no more bytes"};
    offset += static_cast<uint64_t>(put);
    parts = Advance(parts, static_cast<size_t>(put));
  }
  return {};
}

Result<void> PosixDisk::Sync(int fd) {
  if (::fdatasync(fd) != 0) return Error{errno, "cannot sync the journal"};
  return {};
}

Result<void> PosixDisk::Preallocate(int fd, uint64_t bytes) {
  const auto length = static_cast<off_t>(bytes);
  int done = -1;
  do {
    done = ::fallocate(fd, 0, 0, length);
  } while (done != 0 && errno == EINTR);
  if (done == 0) return {};
  if (errno != EOPNOTSUPP) return Error{errno, "cannot preallocate a journal file"};
  // A file system without fallocate: zeros written later, or the appends, reserve the space.
  if (::ftruncate(fd, length) != 0) return Error{errno, "cannot size a journal file"};
  return {};
}

Result<void> PosixDisk::Rename(const std::string& from, const std::string& to) {
  const int directory = directory_.get();
  if (::renameat(directory, from.c_str(), directory, to.c_str()) != 0) {
    return Error{errno, "cannot rename a file of the journal"};
  }
  return {};
}

Result<void> PosixDisk::Remove(const std::string& name) {
  if (::unlinkat(directory_.get(), name.c_str(), 0) != 0) {
    return Error{errno, "cannot remove a file of the journal"};
  }
  return {};
}

Result<void> PosixDisk::SyncDirectory() {
  if (::fsync(directory_.get()) != 0) return Error{errno, "cannot sync the journal's folder"};
  return {};
}

}  // namespace

std::unique_ptr<JournalDisk> MakePosixDisk(const std::string& directory) {
  return std::make_unique<PosixDisk>(directory);
}

}  // namespace weir::journal
