#include "engine/journal/file_window.h"

#include <algorithm>
#include <utility>

#include "engine/journal/journal_format.h"

namespace weir::journal {
namespace {

constexpr size_t kLargestBytes = 1U << 20;

}  // namespace

Result<std::span<const std::byte>> FileWindow::At(uint64_t offset, size_t bytes) {
  if (offset < begin_ || offset + bytes > begin_ + buffer_.size()) {
    begin_ = offset / kPageBytes * kPageBytes;
    const size_t head = offset - begin_;
    const size_t needed = (head + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    buffer_.resize(std::max(needed, std::exchange(ahead_, std::min(2 * ahead_, kLargestBytes))));
    const auto got = ReadAt(disk_, fd_, buffer_, begin_);
    if (!got.ok()) return got.error();
    std::fill(buffer_.begin() + static_cast<std::ptrdiff_t>(got.value()), buffer_.end(),
              std::byte{0});
  }
  return std::span<const std::byte>(buffer_).subspan(offset - begin_, bytes);
}

}  // namespace weir::journal
