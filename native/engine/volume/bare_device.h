// The bare targets that benchmarks compare a volume with: what a transport costs by itself, and
// what it costs with one file behind it.
//
// Thread: the loop thread; every request is answered inside Submit().
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/result.h"
#include "engine/base/unique_fd.h"
#include "engine/volume/block_device.h"

namespace weir {

// Takes writes and forgets them; reads are zeroes.
class NullDevice final : public BlockDevice {
 public:
  explicit NullDevice(uint64_t size_bytes) noexcept : size_bytes_(size_bytes) {}

  void Submit(IoRequest* request) override;
  [[nodiscard]] uint64_t size_bytes() const override { return size_bytes_; }

 private:
  uint64_t size_bytes_;
};

// One pread or pwrite of the page cache per request, fdatasync on a flush.
class FileDevice final : public BlockDevice {
 public:
  // Makes the file if it is absent and gives it `size_bytes`.
  static Result<std::unique_ptr<FileDevice>> Open(const std::string& path, uint64_t size_bytes);

  void Submit(IoRequest* request) override;
  [[nodiscard]] uint64_t size_bytes() const override { return size_bytes_; }

 private:
  FileDevice(UniqueFd fd, uint64_t size_bytes) noexcept
      : fd_(std::move(fd)), size_bytes_(size_bytes) {}
  [[nodiscard]] int Serve(const IoRequest& request) const;
  [[nodiscard]] int Transfer(const IoRequest& request) const;

  UniqueFd fd_;
  uint64_t size_bytes_;
};

}  // namespace weir
