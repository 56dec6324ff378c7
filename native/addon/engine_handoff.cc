// The rolling handoff: sockets, warm volumes, the two windows.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "addon/convert.h"
#include "addon/engine_wrap.h"
#include "engine/base/monotonic_clock.h"
#include "engine/handoff/rcu_guard.h"
#include "engine/handoff/taker.h"

namespace weir::addon {
namespace {

constexpr uint64_t kSendNs = 5'000'000'000ULL;
constexpr uint64_t kKillNs = 10'000'000'000ULL;

const char* NameOf(window::Transport transport) {
  return transport == window::Transport::kNbd ? "nbd" : "ublk";
}

Napi::Array FromStalls(Napi::Env env, const std::vector<DeviceStall>& stalls) {
  Napi::Array devices = Napi::Array::New(env, stalls.size());
  for (size_t i = 0; i < stalls.size(); ++i) {
    Napi::Object device = Napi::Object::New(env);
    device.Set("uid", ToHex(stalls[i].uid));
    device.Set("transport", NameOf(stalls[i].transport));
    device.Set("stallUs", FromU64(env, stalls[i].stall_us));
    Napi::Object phases = Napi::Object::New(env);
    for (const auto& [name, us] : stalls[i].phases_us) phases.Set(name, FromU64(env, us));
    device.Set("phasesUs", phases);
    devices.Set(static_cast<uint32_t>(i), device);
  }
  return devices;
}

WindowOptions ToWindow(const Napi::Object& from, HandoffSocket& socket) {
  WindowOptions options;
  options.socket = &socket;
  options.owners = ToText(from.Get("owners"));
  options.generation = ToU64(from.Get("generation"));
  options.identity = ToText(from.Get("identity"));
  options.deadline_ns = ToU64(from.Get("deadlineMs")) * 1'000'000;
  options.batch = from.Get("inBatches").ToBoolean() ? BatchOfThisMachine() : 0;
  return options;
}

}  // namespace

void EngineWrap::RefuseUnknownSocket(uint32_t call) {
  Refuse(call, {ENOTCONN, "the connection to the other engine is closed"});
}

// (call, path) -> listener
void EngineWrap::ListenHandoff(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  const auto listener = sockets_->Listen(ToText(info[1]));
  if (!listener.ok()) return Refuse(call, listener.error());
  Done(call, [number = listener.value()](Napi::Env env) { return FromU64(env, number); });
}

// (call, listener)
void EngineWrap::CloseHandoffListener(const Napi::CallbackInfo& info) {
  sockets_->CloseListener(VolumeOf(info));
  Done(CallOf(info));
}

// (call, path) -> {socket, pid, uid} | null
void EngineWrap::ConnectHandoff(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  auto connected = HandoffSocket::Connect(ToText(info[1]));
  if (!connected.ok()) {
    const int code = connected.error().code;
    if (code != ENOENT && code != ECONNREFUSED) return Refuse(call, connected.error());
    return Done(call, [](Napi::Env env) -> Napi::Value { return env.Null(); });
  }
  const auto entry = sockets_->Add(std::move(connected.value()));
  Done(call, [entry](Napi::Env env) -> Napi::Value {
    Napi::Object socket = Napi::Object::New(env);
    socket.Set("socket", FromU64(env, entry->number));
    socket.Set("pid", Napi::Number::New(env, entry->socket->peer_pid()));
    socket.Set("uid", Napi::Number::New(env, entry->socket->peer_uid()));
    return socket;
  });
}

// (socket)
void EngineWrap::ReadHandoff(const Napi::CallbackInfo& info) {
  const auto entry = sockets_->Find(info[0].As<Napi::Number>().Uint32Value());
  if (entry != nullptr) HandoffSockets::StartListening(entry);
}

// (call, socket, bytes)
void EngineWrap::SendHandoff(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  auto entry = sockets_->Find(VolumeOf(info));
  if (entry == nullptr) return RefuseUnknownSocket(call);
  const auto bytes = ToSpan(info[2]);
  if (bytes.size() > HandoffSocket::kMessageBytesMax) {
    return Refuse(call, {EMSGSIZE, "a message of the handoff must not exceed 64 KiB"});
  }
  messages_->Post([this, call, entry = std::move(entry),
                   copy = std::vector<std::byte>(bytes.begin(), bytes.end())] {
    const auto sent = entry->socket->Send(copy, {}, MonotonicNs() + kSendNs);
    if (sent.ok()) {
      Done(call);
    } else {
      Refuse(call, {ENOTCONN, sent.error().what});
    }
  });
}

// (socket) -> boolean
Napi::Value EngineWrap::HandoffPeerAlive(const Napi::CallbackInfo& info) {
  const auto entry = sockets_->Find(info[0].As<Napi::Number>().Uint32Value());
  return Napi::Boolean::New(info.Env(), entry != nullptr && entry->socket->peer_alive());
}

// (call, socket)
void EngineWrap::KillHandoffPeer(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  auto entry = sockets_->Find(VolumeOf(info));
  if (entry == nullptr) return RefuseUnknownSocket(call);
  messages_->Post([this, call, entry = std::move(entry)] {
    const auto killed = entry->socket->KillPeer(MonotonicNs() + kKillNs);
    if (killed.ok()) {
      Done(call);
    } else {
      Refuse(call, killed.error());
    }
  });
}

// (call, socket)
void EngineWrap::CloseHandoff(const Napi::CallbackInfo& info) {
  messages_->Post([this, call = CallOf(info), number = VolumeOf(info)] {
    sockets_->Close(number);
    Done(call);
  });
}

// (call, volume, held)
void EngineWrap::HoldJournal(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info), held = info[2].ToBoolean()](VolumeServer& at) {
    at.volume().SetCalm(held, [this, call] { Done(call); });
  });
}

// (call, volume) -> seq
void EngineWrap::CatchUp(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    const auto seq = at.volume().CatchUp(UINT64_MAX);
    if (!seq.ok()) return Refuse(call, seq.error());
    Done(call, [number = seq.value()](Napi::Env env) { return FromU64(env, number); });
  });
}

// (call, socket, {owners, generation, identity, deadlineMs}, [{volume, ...}]): the socket is the
// window's own until EndWindow(). Nothing: the call was refused.
std::optional<EngineWrap::Window> EngineWrap::BeginWindow(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  Window window{.entry = sockets_->Find(VolumeOf(info)), .options = {}, .servers = {}};
  if (window.entry == nullptr) {
    RefuseUnknownSocket(call);
    return std::nullopt;
  }
  const auto listed = info[3].As<Napi::Array>();
  for (uint32_t i = 0; i < listed.Length(); ++i) {
    const auto volume = Napi::Value(listed[i]).As<Napi::Object>();
    const auto found = volumes_.find(static_cast<uint32_t>(ToU64(volume.Get("volume"))));
    if (found == volumes_.end()) {
      Refuse(call, {ENODEV, "the volume is not attached here"});
      return std::nullopt;
    }
    window.servers.push_back(found->second);
  }
  window.options = ToWindow(info[2].As<Napi::Object>(), *window.entry->socket);
  HandoffSockets::BeginWindow(window.entry);
  return window;
}

// (call, socket, options as above and inBatches, [{uid, volume}]) -> GiveOutcome
void EngineWrap::GiveAll(const Napi::CallbackInfo& info) {
  auto window = BeginWindow(info);
  if (!window) return;
  const auto listed = info[3].As<Napi::Array>();
  std::vector<GiveVolume> volumes;
  for (uint32_t i = 0; i < listed.Length(); ++i) {
    const auto volume = Napi::Value(listed[i]).As<Napi::Object>();
    volumes.push_back({.uid = ToUid(volume.Get("uid")), .server = window->servers[i].get()});
  }
  window_->Post([this, call = CallOf(info), window = std::move(*window), volumes] {
    auto outcome = std::make_shared<GiveOutcome>(weir::GiveAll(window.options, volumes));
    HandoffSockets::EndWindow(window.entry);
    Done(call, [outcome](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("kind", outcome->kind == GiveOutcome::Kind::kGiven  ? "given"
                         : outcome->kind == GiveOutcome::Kind::kKept ? "kept"
                                                                     : "lost");
      object.Set("reason", outcome->reason);
      object.Set("generation", FromU64(env, outcome->generation));
      object.Set("devices", FromStalls(env, outcome->devices));
      Napi::Array lost = Napi::Array::New(env, outcome->lost.size());
      for (size_t i = 0; i < outcome->lost.size(); ++i) {
        lost.Set(static_cast<uint32_t>(i), ToHex(outcome->lost[i]));
      }
      object.Set("lost", lost);
      return object;
    });
  });
}

// (call, socket, options as above, [{uid, volume, ublk, socketPath, exportName}]) -> TakeOutcome
void EngineWrap::TakeAll(const Napi::CallbackInfo& info) {
  auto window = BeginWindow(info);
  if (!window) return;
  const auto listed = info[3].As<Napi::Array>();
  std::vector<TakeVolume> volumes;
  for (uint32_t i = 0; i < listed.Length(); ++i) {
    const auto volume = Napi::Value(listed[i]).As<Napi::Object>();
    volumes.push_back({.uid = ToUid(volume.Get("uid")),
                       .server = window->servers[i].get(),
                       .transport = volume.Get("ublk").ToBoolean() ? window::Transport::kUblk
                                                                   : window::Transport::kNbd,
                       .nbd = {.socket_path = ToText(volume.Get("socketPath")),
                               .export_name = ToText(volume.Get("exportName"))}});
  }
  window_->Post([this, call = CallOf(info), window = std::move(*window), volumes] {
    auto outcome = std::make_shared<TakeOutcome>(weir::TakeAll(window.options, volumes));
    HandoffSockets::EndWindow(window.entry);
    Done(call, [outcome](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("kind", outcome->kind == TakeOutcome::Kind::kTaken     ? "taken"
                         : outcome->kind == TakeOutcome::Kind::kRefused ? "refused"
                                                                        : "broken");
      object.Set("reason", outcome->reason);
      object.Set("devices", FromStalls(env, outcome->devices));
      return object;
    });
  });
}

// (owners)
void EngineWrap::RestoreKernel(const Napi::CallbackInfo& info) {
  RcuGuard(RcuKeeper(ToText(info[0]))).Restore();
}

// (call, directory, fileBytes)
void EngineWrap::OpenCacheFile(const Napi::CallbackInfo& info) {
  control_->Post([this, call = CallOf(info), directory = ToText(info[1]), bytes = ToU64(info[2])] {
    const auto opened = cache_->OpenFile(directory, bytes);
    if (opened.ok()) {
      Done(call);
    } else {
      Refuse(call, opened.error());
    }
  });
}

}  // namespace weir::addon
