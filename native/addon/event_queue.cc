#include "addon/event_queue.h"

#include <utility>

namespace weir::addon {

EventQueue::EventQueue(Napi::Env env, Napi::Function on_events)
    : shared_(std::make_shared<Shared>()) {
  auto* context = new std::shared_ptr<Shared>(shared_);
  function_ = Function::New(
      env, on_events, "weir-events", 0, 1, context,
      [](Napi::Env, void*, std::shared_ptr<Shared>* owned) { delete owned; },
      static_cast<void*>(nullptr));
}

void EventQueue::Push(Event event) {
  bool wake = false;
  {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->closed) return;
    wake = shared_->events.empty();
    shared_->events.push_back(std::move(event));
    // Under the lock, so that Close() cannot release the function between the check and the call.
    if (wake) function_.NonBlockingCall();
  }
}

void EventQueue::Close() {
  const std::lock_guard lock(shared_->mutex);
  if (std::exchange(shared_->closed, true)) return;
  shared_->events.clear();
  function_.Abort();
}

void EventQueue::Deliver(Napi::Env env, Napi::Function callback, std::shared_ptr<Shared>* context,
                         void* /*data*/) {
  std::vector<Event> events;
  {
    const std::lock_guard lock((*context)->mutex);
    events.swap((*context)->events);
  }
  if (env == nullptr || callback == nullptr || events.empty()) return;
  const Napi::HandleScope scope(env);
  Napi::Array array = Napi::Array::New(env, events.size());
  for (size_t i = 0; i < events.size(); ++i) array.Set(static_cast<uint32_t>(i), events[i](env));
  callback.Call({array});
}

}  // namespace weir::addon
