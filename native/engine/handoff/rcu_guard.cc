#include "engine/handoff/rcu_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "engine/base/unique_fd.h"

namespace weir {
namespace {

std::string ReadSmall(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char bytes[32];
  const ssize_t got = fd.valid() ? ::read(fd.get(), bytes, sizeof(bytes)) : -1;
  return got > 0 ? std::string(bytes, static_cast<size_t>(got)) : std::string();
}

bool WriteSmall(const std::string& path, int flags, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600));
  return fd.valid() &&
         ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

std::string RcuKeeper(const std::string& owners) { return owners + "/rcu_expedited.before"; }

RcuGuard::RcuGuard(std::string keeper, std::string setting)
    : keeper_(std::move(keeper)), setting_(std::move(setting)) {}

RcuGuard::~RcuGuard() { Restore(); }

void RcuGuard::Expedite() {
  Restore();  // What an engine that died in its window left.
  const std::string before = ReadSmall(setting_);
  if (before.empty() || !WriteSmall(keeper_, O_CREAT | O_TRUNC, before)) return;
  (void)WriteSmall(setting_, 0, "1");
}

void RcuGuard::Restore() {
  const std::string before = ReadSmall(keeper_);
  // A keeper without content was being written when its engine died: nothing was changed yet.
  if (!before.empty() && !WriteSmall(setting_, 0, before)) return;
  if (!before.empty() || errno != ENOENT) ::unlink(keeper_.c_str());
}

}  // namespace weir
