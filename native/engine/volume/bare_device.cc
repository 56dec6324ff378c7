#include "engine/volume/bare_device.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weir {

void NullDevice::Submit(IoRequest* request) {
  if (request->op == IoOp::kRead) std::memset(request->data, 0, request->length_bytes);
  request->owner->OnIoDone(request, 0);
}

Result<std::unique_ptr<FileDevice>> FileDevice::Open(const std::string& path, uint64_t size_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return Error{errno, "cannot open the file of the bare target"};
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return Error{errno, "cannot give the file of the bare target its size"};
  }
  return std::unique_ptr<FileDevice>(new FileDevice(std::move(fd), size_bytes));
}

void FileDevice::Submit(IoRequest* request) { request->owner->OnIoDone(request, Serve(*request)); }

int FileDevice::Serve(const IoRequest& request) const {
  int result = 0;
  switch (request.op) {
    case IoOp::kRead:
      return Transfer(request);
    case IoOp::kWrite:
      result = Transfer(request);
      break;
    case IoOp::kFlush:
      return ::fdatasync(fd_.get()) == 0 ? 0 : -errno;
    case IoOp::kDiscard:
    case IoOp::kWriteZeroes:
      result = ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           static_cast<off_t>(request.offset_bytes),
                           static_cast<off_t>(request.length_bytes)) == 0
                   ? 0
                   : -errno;
      break;
  }
  if (result == 0 && request.fua && ::fdatasync(fd_.get()) != 0) result = -errno;
  return result;
}

int FileDevice::Transfer(const IoRequest& request) const {
  uint32_t done = 0;
  while (done < request.length_bytes) {
    const auto offset = static_cast<off_t>(request.offset_bytes + done);
    const size_t left = request.length_bytes - done;
    const ssize_t step = request.op == IoOp::kRead
                             ? ::pread(fd_.get(), request.data + done, left, offset)
                             : ::pwrite(fd_.get(), request.data + done, left, offset);
    if (step < 0 && errno == EINTR) continue;
    if (step < 0) return -errno;
    if (step == 0) return -EIO;  // Somebody has cut the file.
    done += static_cast<uint32_t>(step);
  }
  return 0;
}

}  // namespace weir
