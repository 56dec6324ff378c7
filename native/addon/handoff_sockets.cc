#include "addon/handoff_sockets.h"

#include <cerrno>
#include <utility>

#include "addon/convert.h"

namespace weir::addon {
namespace {

constexpr uint64_t kNever = UINT64_MAX;
constexpr std::byte kJson{'{'};

Napi::Object SocketEvent(Napi::Env env, const char* type, uint32_t socket) {
  Napi::Object event = Napi::Object::New(env);
  event.Set("type", type);
  event.Set("socket", FromU64(env, socket));
  return event;
}

}  // namespace

HandoffSockets::~HandoffSockets() {
  while (!listeners_.empty()) CloseListener(listeners_.begin()->first);
  while (!sockets_.empty()) Close(sockets_.begin()->first);
}

Result<uint32_t> HandoffSockets::Listen(const std::string& path) {
  auto listening = HandoffListener::Listen(path);
  if (!listening.ok()) return listening.error();
  auto listener = std::make_unique<Listener>();
  listener->listener = std::move(listening.value());
  const std::lock_guard lock(mutex_);
  const uint32_t number = next_number_++;
  HandoffListener& at = *listener->listener;
  listener->acceptor = std::thread([this, number, &at] {
    for (auto socket = at.Accept(); socket.ok(); socket = at.Accept()) {
      const Shared entry = Add(std::move(socket.value()));
      events_->Push([number, entry](Napi::Env env) -> Napi::Value {
        Napi::Object event = SocketEvent(env, "handoffConnection", entry->number);
        event.Set("listener", FromU64(env, number));
        event.Set("pid", Napi::Number::New(env, entry->socket->peer_pid()));
        event.Set("uid", Napi::Number::New(env, entry->socket->peer_uid()));
        return event;
      });
    }
  });
  listeners_.emplace(number, std::move(listener));
  return number;
}

void HandoffSockets::CloseListener(uint32_t number) {
  std::unique_ptr<Listener> listener;
  {
    const std::lock_guard lock(mutex_);
    const auto found = listeners_.find(number);
    if (found == listeners_.end()) return;
    listener = std::move(found->second);
    listeners_.erase(found);
  }
  listener->listener->Stop();
  listener->acceptor.join();
}

HandoffSockets::Shared HandoffSockets::Add(std::unique_ptr<HandoffSocket> socket) {
  auto entry = std::make_shared<Entry>();
  entry->socket = std::move(socket);
  const std::lock_guard lock(mutex_);
  entry->number = next_number_++;
  sockets_.emplace(entry->number, entry);
  entry->reader = std::thread([this, entry] { Read(entry); });
  return entry;
}

HandoffSockets::Shared HandoffSockets::Find(uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = sockets_.find(number);
  return found == sockets_.end() ? nullptr : found->second;
}

void HandoffSockets::StartListening(const Shared& entry) {
  const std::lock_guard lock(entry->mutex);
  entry->listening = true;
  entry->changed.notify_all();
}

void HandoffSockets::BeginWindow(const Shared& entry) {
  const std::lock_guard lock(entry->mutex);
  entry->window = true;
}

void HandoffSockets::EndWindow(const Shared& entry) {
  const std::lock_guard lock(entry->mutex);
  entry->window = false;
  entry->window_over = true;
  entry->changed.notify_all();
}

void HandoffSockets::Close(uint32_t number) {
  Shared entry;
  {
    const std::lock_guard lock(mutex_);
    const auto found = sockets_.find(number);
    if (found == sockets_.end()) return;
    entry = found->second;
    sockets_.erase(found);
  }
  {
    const std::lock_guard lock(entry->mutex);
    entry->closing = true;
    entry->changed.notify_all();
  }
  entry->socket->Shutdown();
  entry->reader.join();
}

// A message of the window stays where it is until the window is over; what is left of it then
// (and the descriptors in it) goes.
bool HandoffSockets::AwaitTurn(Entry& entry) {
  std::unique_lock lock(entry.mutex);
  for (;;) {
    entry.changed.wait(lock, [&] { return entry.closing || (entry.listening && !entry.window); });
    if (entry.closing) return false;
    const bool was_over = entry.window_over;
    lock.unlock();
    const auto first = entry.socket->Peek(kNever);
    lock.lock();
    // The window may have taken what was seen: the message that lies there now is another one, and
    // once it was `serving`, thrown away below.
    if (entry.window || entry.window_over != was_over) continue;
    if (!first.ok()) return false;
    if (first.value() == kJson) return true;
    if (entry.window_over) {
      (void)entry.socket->Receive(0);
      continue;
    }
    entry.changed.wait(lock, [&] { return entry.closing || entry.window_over; });
  }
}

void HandoffSockets::Read(const Shared& entry) {
  while (AwaitTurn(*entry)) {
    auto received = entry->socket->Receive(kNever);
    if (!received.ok()) break;
    auto bytes = std::make_shared<std::vector<std::byte>>(std::move(received.value().bytes));
    events_->Push([number = entry->number, bytes](Napi::Env env) -> Napi::Value {
      Napi::Object event = SocketEvent(env, "handoffMessage", number);
      event.Set("bytes", FromBytes(env, std::move(*bytes)));
      return event;
    });
  }
  const std::lock_guard lock(entry->mutex);
  if (entry->closing) return;
  events_->Push([number = entry->number](Napi::Env env) -> Napi::Value {
    return SocketEvent(env, "handoffClosed", number);
  });
}

}  // namespace weir::addon
