#include "engine/ublk/ublk_nodes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <system_error>

#include "engine/base/monotonic_clock.h"

namespace weir {
namespace {

constexpr uint64_t kPollNs = 200'000;  // A hotter poll starves the kernel's own clean-up on 2 CPUs.

struct NodeNames {
  std::string node;       // in /dev
  std::string sysfs_dev;  // the file with "major:minor"
  mode_t type;
};

NodeNames CharNames(uint32_t device_id) {
  const std::string name = "ublkc" + std::to_string(device_id);
  return {"/dev/" + name, "/sys/class/ublk-char/" + name + "/dev", S_IFCHR};
}

NodeNames BlockNames(uint32_t device_id) {
  const std::string name = "ublkb" + std::to_string(device_id);
  return {"/dev/" + name, "/sys/class/block/" + name + "/dev", S_IFBLK};
}

// 0, or the errno that says why there is no node.
int MakeNode(const NodeNames& names) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(::fopen(names.sysfs_dev.c_str(), "re"),
                                                   [](FILE* open) { return ::fclose(open); });
  if (file == nullptr) return ENOENT;
  std::array<char, 32> text{};
  if (std::fgets(text.data(), static_cast<int>(text.size()), file.get()) == nullptr) return ENOENT;
  const char* const end = text.data() + std::strlen(text.data());
  unsigned major = 0;
  unsigned minor = 0;
  const auto [colon, error] = std::from_chars(text.data(), end, major);
  if (error != std::errc{} || colon == end || *colon != ':') return ENOENT;
  if (std::from_chars(colon + 1, end, minor).ec != std::errc{}) return ENOENT;
  const int result = ::mknod(names.node.c_str(), names.type | 0600U, ::makedev(major, minor));
  return result == 0 || errno == EEXIST ? 0 : errno;
}

void Pause() {
  const timespec pause{0, kPollNs};
  nanosleep(&pause, nullptr);
}

}  // namespace

Result<UniqueFd> OpenUblkControlNode() {
  const NodeNames names{"/dev/ublk-control", "/sys/class/misc/ublk-control/dev", S_IFCHR};
  UniqueFd fd(::open(names.node.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT && MakeNode(names) == 0) {
    fd = UniqueFd(::open(names.node.c_str(), O_RDWR | O_CLOEXEC));
  }
  if (fd.valid()) return fd;
  return NoUblkControl(errno);
}

Error NoUblkControl(int open_errno) {
  switch (open_errno) {
    case EACCES:
    case EPERM:
      return Error{EACCES, "cannot open /dev/ublk-control: the engine must run privileged"};
    case ENODEV:
    case ENOENT:
    case ENXIO:
      return Error{ENODEV,
                   "cannot open /dev/ublk-control: load the ublk_drv kernel module (modprobe "
                   "ublk_drv) or attach with --transport nbd"};
    default:
      return Error{open_errno, "cannot open /dev/ublk-control"};
  }
}

Result<UniqueFd> OpenUblkCharNode(uint32_t device_id, uint64_t deadline_ns) {
  const NodeNames names = CharNames(device_id);
  const uint64_t until_ns = MonotonicNs() + deadline_ns;
  for (;;) {
    UniqueFd fd(::open(names.node.c_str(), O_RDWR | O_CLOEXEC));
    if (fd.valid()) return fd;
    const int code = errno;
    // A stale node of an earlier device with this number has another minor: ENXIO.
    if (code == ENXIO) ::unlink(names.node.c_str());
    if (code == ENOENT || code == ENXIO) {
      MakeNode(names);
    } else if (code != EBUSY && code != EINTR) {
      return Error{code, "cannot open the ublk character device"};
    }
    if (MonotonicNs() >= until_ns) {
      return Error{code == EBUSY ? EBUSY : ETIMEDOUT,
                   code == EBUSY
                       ? "cannot open the ublk character device: another process still has it"
                       : "cannot open the ublk character device: its node did not appear in time"};
    }
    Pause();
  }
}

Result<std::string> EnsureUblkBlockNode(uint32_t device_id, uint64_t deadline_ns) {
  const NodeNames names = BlockNames(device_id);
  const uint64_t until_ns = MonotonicNs() + deadline_ns;
  for (;;) {
    struct stat status {};
    if (::stat(names.node.c_str(), &status) == 0) return names.node;
    const int code = MakeNode(names);
    if (code == 0) continue;
    if (code != ENOENT) return Error{code, "cannot make the node of the ublk block device"};
    if (MonotonicNs() >= until_ns) {
      return Error{ETIMEDOUT, "cannot find the ublk block device: it has not been started"};
    }
    Pause();
  }
}

std::vector<uint32_t> ListUblkDevices() {
  std::vector<uint32_t> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/sys/class/ublk-char"),
                                                   [](DIR* open) { return ::closedir(open); });
  if (folder == nullptr) return ids;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with("ublkc")) {
      ids.push_back(static_cast<uint32_t>(std::strtoul(name.c_str() + 5, nullptr, 10)));
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace weir
