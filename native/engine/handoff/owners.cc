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

// link(2) is what is exclusive: the name stands for a whole file from its first moment on.
Result<OwnerClaim> ClaimGeneration(const std::string& owners, uint64_t generation,
                                   std::string_view identity) {
  const std::string name = NameOf(owners, generation);
  std::string hidden = owners + "/.claim-XXXXXX";
  const UniqueFd fd(::mkostemp(hidden.data(), O_CLOEXEC));
  if (!fd.valid()) return Error{errno, "cannot write to the folder of owners"};
  int code = 0;
  const ssize_t put = ::write(fd.get(), identity.data(), identity.size());
  if (put != static_cast<ssize_t>(identity.size())) code = put < 0 ? errno : ENOSPC;
  if (code == 0 && ::link(hidden.c_str(), name.c_str()) != 0) code = errno;
  ::unlink(hidden.c_str());
  if (code == EEXIST) return OwnerClaim::kTaken;
  if (code != 0) return Error{code, "cannot claim the ownership of the node's volumes"};
  return OwnerClaim::kMine;
}

}  // namespace weir
