// Who owns the node's volumes: one file per generation, made exclusively, in a folder that dies
// with the boot. Whoever makes <owners>/<g+1> owns everything that generation g owned.
//
// Thread: any. Crash: the file appears under its name with its content or not at all, and stays;
//   its owner's death is told by its identity, not by its absence.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/result.h"

namespace weir {

enum class OwnerClaim : uint8_t { kMine, kTaken };

// Makes the file of `generation` with `identity` in it. Exactly one of all who try gets kMine.
Result<OwnerClaim> ClaimGeneration(const std::string& owners, uint64_t generation,
                                   std::string_view identity);

// True when somebody made the file of `generation`; also when that cannot be told.
[[nodiscard]] bool GenerationIsClaimed(const std::string& owners, uint64_t generation);

}  // namespace weir
