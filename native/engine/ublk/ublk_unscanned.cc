#include "engine/ublk/ublk_unscanned.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "engine/base/check.h"
#include "engine/ublk/ublk_uapi.h"

namespace weir {

void LeaveUnscanned(const UblkDeviceInfo& info) {
  if ((info.features & ublk::kFeatureNoAutoPartScan) != 0) return;
  // The system calls themselves: they are about this thread only.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  WEIR_CHECK(::syscall(SYS_capget, &header, sets.data()) == 0);
  sets[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
  WEIR_CHECK(::syscall(SYS_capset, &header, sets.data()) == 0);
}

}  // namespace weir
