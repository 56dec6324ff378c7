// Two moments in which the driver is not yet done with what it was doing, and which it does not
// wait for itself. Each of the two belongs to one half of the kernels.
//
// Thread: any that may block; its affinity is restored.
#pragma once

namespace weir {

// --- Before Linux 6.16: a former server's commands ---
// Such a driver says QUIESCED and only then cancels, in a kernel worker and without a lock,
// whatever commands it finds: commands that a successor fetches within that moment are cancelled
// too, and the kernel crashes. The worker does not sleep between the two, so it has finished as
// soon as every CPU has run another thread since: this one, on each CPU in turn.

// Whether this kernel interrupts its workers only where they sleep. False: it may do so anywhere
// (preempt=full or lazy, RT), or there is no debugfs that says which. Reads a file, which is better
// done before anybody waits.
bool UblkWorkerRunsThrough();

// Call it when the device is seen QUIESCED. Takes a thread switch per CPU; where not every CPU may
// be used (a cpuset), or the worker may be interrupted, 10 ms instead.
void SettleUblkWorker(bool worker_runs_through);

// --- Since Linux 6.15: requests on their way to the list of those that wait ---
// Such a driver keeps the block queue running while a device has no server, and puts each request
// on a list, which the end of the recovery passes on, once. A thread that saw no server and was
// interrupted before it reached the list comes too late: its request waits until something else
// passes the list on, which may be never (seen: until the next handoff). So between the last fetch
// and the end of the recovery every thread that is in the driver has to leave it. They are there
// as readers of RCU, and membarrier() is the wait for those.

// Whether this kernel is an older one, whose block queue stands still meanwhile.
bool UblkQueueStandsStill();

// Else: call it when all tags were fetched. 10 ms where the kernel refuses the wait (nohz_full).
void SettleUblkRequeues();

}  // namespace weir
