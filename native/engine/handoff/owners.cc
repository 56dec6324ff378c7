#include "engine/handoff/owners.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/unique_fd.h"

namespace weir {
namespace {

std::string NameOf(const std::string& owners, uint64_t generation) {
  return owners + "/" + std::to_string(generation);
}

}  // namespace

bool GenerationIsClaimed(const std::string& owners, uint64_t generation) {
  return ::access(NameOf(owners, generation).c_str(), F_OK) == 0 || errno != ENOENT;
}

Result<OwnerFile> OwnerFile::Write(const std::string& owners, std::string_view identity) {
  std::string hidden = owners + "/.claim-XXXXXX";
  const UniqueFd fd(::mkostemp(hidden.data(), O_CLOEXEC));
  if (!fd.valid()) return Error{errno, "cannot write to the folder of owners"};
  OwnerFile file(owners, std::move(hidden));
  const ssize_t put = ::write(fd.get(), identity.data(), identity.size());
  if (put == static_cast<ssize_t>(identity.size())) return file;
  return Error{put < 0 ? errno : ENOSPC, "cannot claim the ownership of the node's volumes"};
}

OwnerFile::~OwnerFile() {
  if (!hidden_.empty()) ::unlink(hidden_.c_str());
}

// link(2) is what is exclusive: the name stands for a whole file from its first moment on.
Result<OwnerClaim> OwnerFile::Claim(uint64_t generation) const {
  if (::link(hidden_.c_str(), NameOf(owners_, generation).c_str()) == 0) return OwnerClaim::kMine;
  if (errno == EEXIST) return OwnerClaim::kTaken;
  return Error{errno, "cannot claim the ownership of the node's volumes"};
}

Result<OwnerClaim> ClaimGeneration(const std::string& owners, uint64_t generation,
                                   std::string_view identity) {
  const auto file = OwnerFile::Write(owners, identity);
  return file.ok() ? file.value().Claim(generation) : file.error();
}

}  // namespace weir
