// Brings a served volume to a ublk device and takes it away again, in the order the kernels need.
//
// Thread: a control thread; every call blocks and takes steps on the volume's loop in between.
// Crash: a device that was started waits QUIESCED and is taken up with `recover`; one that was only
// added, or stopped already, is dead: `recover` makes it anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "engine/base/result.h"
#include "engine/ublk/ublk_control.h"
#include "engine/volume/volume_server.h"

namespace weir {

struct UblkStart {
  int32_t id = -1;  // -1: the kernel chooses
  uint16_t depth = 128;
  bool recover = false;  // take over device `id`; if it is gone or dead, make it anew
};

// /dev/ublkb<number> is there when it returns.
Result<void> StartUblk(VolumeServer& server, UblkControl& control, const UblkStart& start);
// Ends all I/O and removes the device. A volume without one is fine.
Result<void> StopUblk(VolumeServer& server, UblkControl& control);
// Tells the kernel the volume's present size. ENOTSUP before Linux 6.16.
Result<void> ResizeUblk(VolumeServer& server, UblkControl& control);
// Leaves the device to a server in another process, or to this one again (TakeUblk): when it
// returns, nobody has the character device open and recovery has begun. Either by QUIESCE_DEV, or
// in the order that Linux before 6.16 needs: the loop's thread ends, its ring closes, the driver
// settles, the device closes; the server is parked then. REQUIRES a queue that was frozen.
struct UblkLeave {
  UblkControl& control;
  const UblkDeviceInfo& info;
  bool syncs = true;  // a sync of the journal may be under way, whose end must not be lost
  bool worker_runs_through = false;  // of a kernel without QUIESCE_DEV: ublk_settle.h
  uint64_t deadline_ns = UblkControl::kDeadlineNs;
};
Result<void> LeaveUblk(VolumeServer& server, const UblkLeave& leave);
// Opens a device that was left, in a loop until `deadline_ns` from now, and maps it. No request is
// touched; destroying the queue lets go of the device again.
Result<std::unique_ptr<UblkQueue>> OpenLeftUblk(VolumeServer& server, const UblkDeviceInfo& info,
                                                uint64_t deadline_ns);
// Fetches and ends the recovery: from here on this server serves. REQUIRES that the loop runs.
// `first`, if there is one, runs on the loop before any request is started there, perhaps after
// this has returned: both take their time, and requests wait for the slower one only.
Result<void> ServeLeftUblk(VolumeServer& server, UblkControl& control, uint32_t id,
                           std::unique_ptr<UblkQueue> queue,
                           std::function<void(VolumeServer&)> first);
// Removes a device whose server is gone and that nobody will recover: waiting I/O ends in EIO. An
// absent one is fine; EBUSY when it is being served.
Result<void> AbandonUblk(UblkControl& control, uint32_t id);

}  // namespace weir
