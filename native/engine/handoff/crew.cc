#include "engine/handoff/crew.h"

#include <pthread.h>
#include <sched.h>

#include <utility>

#include "engine/base/signals_blocked.h"
#include "engine/handoff/urgent.h"

namespace weir {

Crew::Crew(size_t size) {
  const SignalsBlocked blocked;
  for (size_t i = 0; i < size; ++i) {
    workers_.push_back(std::make_unique<Worker>());
    Worker& worker = *workers_.back();
    worker.thread = std::thread([this, &worker] { Run(worker); });
  }
}

Crew::~Crew() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  for (const auto& worker : workers_) worker->wake.notify_one();
  for (const auto& worker : workers_) worker->thread.join();
}

void Crew::Give(size_t worker, std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    workers_[worker]->jobs.push_back(std::move(job));
    ++open_;
  }
  workers_[worker]->wake.notify_one();
}

void Crew::Wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return open_ == 0; });
}

void Crew::Some(size_t from, size_t to, const std::function<void(size_t)>& job) {
  if (from == to) return;
  for (size_t i = from; i + 1 < to; ++i) {
    Give(i, [&job, i] { job(i); });
  }
  job(to - 1);
  Wait();
}

void Crew::Relax() {
  for (const auto& worker : workers_) {
    const sched_param param{};
    (void)::pthread_setschedparam(worker->thread.native_handle(), SCHED_OTHER, &param);
  }
  SetUrgency(Urgency::kNone);
}

void Crew::Run(Worker& worker) {
  SetUrgency(Urgency::kWithWorkers);
  std::unique_lock lock(mutex_);
  for (;;) {
    worker.wake.wait(lock, [&] { return stopping_ || !worker.jobs.empty(); });
    if (worker.jobs.empty()) return;
    const auto job = std::move(worker.jobs.front());
    worker.jobs.pop_front();
    lock.unlock();
    job();
    lock.lock();
    if (--open_ == 0) idle_.notify_all();
  }
}

}  // namespace weir
