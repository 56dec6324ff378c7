// Brings events of native threads to JavaScript in batches: one wake of the JS thread hands over
// all that gathered since the last one.
//
// Thread: Push() from any thread; the rest on the JS thread.
// Shutdown: Close() aborts the thread-safe function; later pushes are dropped.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace weir::addon {

// Makes the JavaScript value of one event; runs on the JS thread inside a handle scope.
using Event = std::function<Napi::Value(Napi::Env)>;

class EventQueue {
 public:
  // `on_events` is called with an array of events. Keeps the process alive until Close().
  EventQueue(Napi::Env env, Napi::Function on_events);
  void Push(Event event);
  void Close();

 private:
  struct Shared {
    std::mutex mutex;
    std::vector<Event> events;  // guarded by mutex
    bool closed = false;        // guarded by mutex
  };
  static void Deliver(Napi::Env env, Napi::Function callback, std::shared_ptr<Shared>* context,
                      void* data);
  using Function = Napi::TypedThreadSafeFunction<std::shared_ptr<Shared>, void, &Deliver>;

  std::shared_ptr<Shared> shared_;
  Function function_;
};

}  // namespace weir::addon
