// A thread that does the engine's slow work in order: building segments, decoding fetched frames,
// moving blocks from the journal to the clean cache.
//
// Thread: Post() from any thread; jobs run on the worker's own thread, first in, first out.
// Stop: the destructor runs every job already posted, then joins; jobs post their results to loops,
// so workers must outlive the loops' volumes or be drained before them.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace weir {

class Worker {
 public:
  // `nice` is added to the thread's niceness: background work gives way to guest I/O.
  explicit Worker(int nice);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Post(std::function<void()> job);

 private:
  void Run(int nice);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  bool stopping_ = false;                   // guarded by mutex_
  std::thread thread_;                      // last: starts when everything above exists
};

}  // namespace weir
