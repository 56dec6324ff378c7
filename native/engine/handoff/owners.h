// Who owns the node's volumes: one file per generation, made exclusively, in a folder that dies
// with the boot. Whoever makes <owners>/<g+1> owns everything that generation g owned.
//
// Thread: any. Crash: the file appears under its name with its content or not at all, and stays;
//   its owner's death is told by its identity, not by its absence. A file that was only written for
//   a claim may stay, under a hidden name that nobody reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/result.h"

namespace weir {

enum class OwnerClaim : uint8_t { kMine, kTaken };

// A file of its own in the folder, with the owner's identity in it, that is to become that of a
// generation: all that takes time is done before the moment in which requests wait for the claim.
class OwnerFile {
 public:
  static Result<OwnerFile> Write(const std::string& owners, std::string_view identity);
  OwnerFile(OwnerFile&& other) noexcept
      : owners_(std::move(other.owners_)), hidden_(std::exchange(other.hidden_, {})) {}
  OwnerFile& operator=(OwnerFile&&) = delete;
  // Removes the name it had before.
  ~OwnerFile();

  // As ClaimGeneration().
  [[nodiscard]] Result<OwnerClaim> Claim(uint64_t generation) const;

 private:
  OwnerFile(std::string owners, std::string hidden)
      : owners_(std::move(owners)), hidden_(std::move(hidden)) {}

  std::string owners_;
  std::string hidden_;
};

// Makes the file of `generation` with `identity` in it. Exactly one of all who try gets kMine.
Result<OwnerClaim> ClaimGeneration(const std::string& owners, uint64_t generation,
                                   std::string_view identity);

// True when somebody made the file of `generation`; also when that cannot be told.
[[nodiscard]] bool GenerationIsClaimed(const std::string& owners, uint64_t generation);

}  // namespace weir
