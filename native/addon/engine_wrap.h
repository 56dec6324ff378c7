// The native engine as one JavaScript object. Every method takes a call number as its first
// argument and returns at once; the answer comes as a `done` event with that number. Only converts
// and forwards.
//
// Thread: methods on the JS thread. Volumes run on threads of their own.
// Shutdown: Close() (or the environment's end) closes every volume before the workers stop.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "addon/event_queue.h"
#include "addon/handoff_sockets.h"
#include "engine/cache/clean_cache.h"
#include "engine/handoff/giver.h"
#include "engine/ublk/ublk_control.h"
#include "engine/volume/volume_server.h"
#include "engine/volume/worker.h"

namespace weir::addon {

class EngineWrap final : public Napi::ObjectWrap<EngineWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  using Make = std::function<Napi::Value(Napi::Env)>;
  // A volume shared with tasks under way; closed volumes leave the map first.
  using Server = std::shared_ptr<VolumeServer>;
  // What giveAll and takeAll work with; the servers live as long as it does.
  struct Window {
    HandoffSockets::Shared entry;
    WindowOptions options;
    std::vector<Server> servers;  // in the order of the call
  };

  // volumes (engine_wrap.cc)
  void OpenVolume(const Napi::CallbackInfo& info);
  void CloseVolume(const Napi::CallbackInfo& info);
  Napi::Value InspectJournal(const Napi::CallbackInfo& info);
  Napi::Value CacheHas(const Napi::CallbackInfo& info);
  Napi::Value CacheStats(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  // data path (engine_calls.cc)
  void TakeBatch(const Napi::CallbackInfo& info);
  void CommitBatch(const Napi::CallbackInfo& info);
  void CompleteFetch(const Napi::CallbackInfo& info);
  void RetryFetch(const Napi::CallbackInfo& info);
  void CompleteChunk(const Napi::CallbackInfo& info);
  void Capture(const Napi::CallbackInfo& info);
  void CheckpointDone(const Napi::CallbackInfo& info);
  void Grow(const Napi::CallbackInfo& info);
  void Fail(const Napi::CallbackInfo& info);
  void Stats(const Napi::CallbackInfo& info);

  // transports (engine_transports.cc)
  void ListenNbd(const Napi::CallbackInfo& info);
  void CloseNbd(const Napi::CallbackInfo& info);
  void StartUblk(const Napi::CallbackInfo& info);
  void StopUblk(const Napi::CallbackInfo& info);
  void ResizeUblk(const Napi::CallbackInfo& info);
  void AbandonUblk(const Napi::CallbackInfo& info);

  // handoff (engine_handoff.cc)
  void ListenHandoff(const Napi::CallbackInfo& info);
  void CloseHandoffListener(const Napi::CallbackInfo& info);
  void ConnectHandoff(const Napi::CallbackInfo& info);
  void ReadHandoff(const Napi::CallbackInfo& info);
  void SendHandoff(const Napi::CallbackInfo& info);
  Napi::Value HandoffPeerAlive(const Napi::CallbackInfo& info);
  void KillHandoffPeer(const Napi::CallbackInfo& info);
  void CloseHandoff(const Napi::CallbackInfo& info);
  void HoldJournal(const Napi::CallbackInfo& info);
  void CatchUp(const Napi::CallbackInfo& info);
  void GiveAll(const Napi::CallbackInfo& info);
  void TakeAll(const Napi::CallbackInfo& info);
  void RestoreKernel(const Napi::CallbackInfo& info);
  void OpenCacheFile(const Napi::CallbackInfo& info);
  std::optional<Window> BeginWindow(const Napi::CallbackInfo& info);
  void RefuseUnknownSocket(uint32_t call);

  // The ublk control ring, opened at its first use. Control worker only.
  Result<UblkControl*> Control();
  // Runs `task` on the control worker, which may block.
  void WithControl(const Napi::CallbackInfo& info,
                   std::function<void(VolumeServer&, UblkControl&)> task);
  // Answers call `call` with what `make` makes / with an error.
  void Done(uint32_t call, Make make);
  void Done(uint32_t call);
  void Refuse(uint32_t call, Error error);
  // The volume of a call; null (and the call refused) when it is not open.
  Server Find(const Napi::CallbackInfo& info);

  std::shared_ptr<EventQueue> events_;
  std::unique_ptr<CleanCache> cache_;
  std::unique_ptr<Worker> background_;
  std::unique_ptr<Worker> foreground_;
  std::unique_ptr<Worker> control_;  // blocking control calls: closing volumes, ublk control
  std::unique_ptr<UblkControl> ublk_control_;
  std::unique_ptr<HandoffSockets> sockets_;
  std::unique_ptr<Worker> messages_;  // sends to the other engine, which may not read for a while
  std::unique_ptr<Worker> window_;    // gives or takes everything
  std::unordered_map<uint32_t, Server> volumes_;
};

// Call number and volume number of a call's arguments 0 and 1.
[[nodiscard]] inline uint32_t CallOf(const Napi::CallbackInfo& info) {
  return info[0].As<Napi::Number>().Uint32Value();
}
[[nodiscard]] inline uint32_t VolumeOf(const Napi::CallbackInfo& info) {
  return info[1].As<Napi::Number>().Uint32Value();
}
[[nodiscard]] Napi::Value FromStats(Napi::Env env, const VolumeStats& stats);

}  // namespace weir::addon
