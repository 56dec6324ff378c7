// Makes sure that a driver before Linux 6.16 has finished with a former server's commands.
//
// Such a driver says QUIESCED and only then cancels, in a kernel worker and without a lock,
// whatever commands it finds: commands that a successor fetches within that moment are cancelled
// too, and the kernel crashes. The worker does not sleep between the two, so it has finished as
// soon as every CPU has run another thread since: this one, on each CPU in turn.
//
// Thread: any that may block; its affinity is restored.
#pragma once

namespace weir {

// Call it when the device is seen QUIESCED. Takes a few thread switches; where not every CPU may be
// used (a cpuset), or this kernel may interrupt its workers anywhere (preempt=full or lazy, RT, or
// no debugfs that says which), 10 ms instead.
void SettleUblkWorker();

}  // namespace weir
