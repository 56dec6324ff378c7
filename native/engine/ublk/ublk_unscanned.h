// Keeps an older driver from reading the partition table of a device that is being started.
//
// Before Linux 7.0 START_DEV does that with the device's lock held. A server that is killed
// meanwhile leaves a read that waits for the next server, who waits for that lock: device and
// killed process are stuck until the machine boots. Such a driver leaves the table alone when the
// thread that fetched the last tag lacks CAP_SYS_ADMIN. Nobody misses it: a volume holds a file
// system, or whatever its pod puts there.
//
// Thread: the loop thread that fetches, which needs the capability for nothing else; it stays
// without. Crash: nothing stays.
#pragma once

#include "engine/ublk/ublk_control.h"

namespace weir {

// Before the tags are fetched. Does nothing where the device was made with NO_AUTO_PART_SCAN.
void LeaveUnscanned(const UblkDeviceInfo& info);

}  // namespace weir
