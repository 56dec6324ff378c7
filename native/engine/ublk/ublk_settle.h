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

// Whether this kernel interrupts its workers only where they sleep. False: it may do so anywhere
// (preempt=full or lazy, RT), or there is no debugfs that says which. Reads a file, which is better
// done before anybody waits.
bool UblkWorkerRunsThrough();

// Call it when the device is seen QUIESCED. Takes a thread switch per CPU; where not every CPU may
// be used (a cpuset), or the worker may be interrupted, 10 ms instead.
void SettleUblkWorker(bool worker_runs_through);

}  // namespace weir
