// One thread per volume for the length of a handoff, made before the window so that the window
// starts none. Jobs may block. They are urgent (urgent.h), also before the window: io_uring's
// workers, which a first command makes there, are as urgent as the thread that it came from.
//
// Thread: the methods on the owner's thread; jobs on the crew's.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace weir {

class Crew {
 public:
  explicit Crew(size_t size);
  // Waits for the jobs.
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // Jobs of one worker run in order.
  void Give(size_t worker, std::function<void()> job);
  // Returns when every job given so far has run.
  void Wait();
  // Runs `job(i)` for each worker i, or for those in [from, to), and waits. The last one runs here:
  // a wake less for most nodes' only volume.
  void All(const std::function<void(size_t)>& job) { Some(0, workers_.size(), job); }
  void Some(size_t from, size_t to, const std::function<void(size_t)>& job);
  // From now on its threads run as any other does, and so does this one: those whom users wait for
  // come first again.
  void Relax();
  [[nodiscard]] size_t size() const noexcept { return workers_.size(); }

 private:
  struct Worker {
    std::condition_variable wake;
    std::deque<std::function<void()>> jobs;
    std::thread thread;
  };
  void Run(Worker& worker);

  std::mutex mutex_;  // guards jobs, open_ and stopping_
  std::condition_variable idle_;
  size_t open_ = 0;  // jobs given and not done
  bool stopping_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace weir
