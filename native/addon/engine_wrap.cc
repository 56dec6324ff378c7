#include "addon/engine_wrap.h"

#include <cerrno>
#include <utility>

#include "addon/convert.h"

namespace weir::addon {
namespace {

// Forwards what one volume asks for as events that carry its number.
class EventHost final : public VolumeHost {
 public:
  EventHost(std::shared_ptr<EventQueue> events, uint32_t volume)
      : events_(std::move(events)), volume_(volume) {}

  void OnFetchWanted(uint64_t fetch_id, const FrameKey& key, uint32_t length) override {
    events_->Push([volume = volume_, fetch_id, key, length](Napi::Env env) -> Napi::Value {
      Napi::Object event = Named(env, "fetch", volume);
      event.Set("fetch", FromU64(env, fetch_id));
      event.Set("segment", FromSegmentId(env, key.segment));
      event.Set("offset", FromU64(env, key.offset));
      event.Set("length", FromU64(env, length));
      return event;
    });
  }
  void OnChunkWanted(uint32_t chunk) override {
    events_->Push([volume = volume_, chunk](Napi::Env env) -> Napi::Value {
      Napi::Object event = Named(env, "chunk", volume);
      event.Set("chunk", FromU64(env, chunk));
      return event;
    });
  }
  void OnDirty(bool urgent) override {
    events_->Push([volume = volume_, urgent](Napi::Env env) -> Napi::Value {
      Napi::Object event = Named(env, "dirty", volume);
      event.Set("urgent", Napi::Boolean::New(env, urgent));
      return event;
    });
  }
  void OnFailed(Error error) override {
    events_->Push([volume = volume_, error](Napi::Env env) -> Napi::Value {
      Napi::Object event = Named(env, "failed", volume);
      event.Set("error", FromError(env, error));
      return event;
    });
  }

 private:
  static Napi::Object Named(Napi::Env env, const char* type, uint32_t volume) {
    Napi::Object event = Napi::Object::New(env);
    event.Set("type", type);
    event.Set("volume", FromU64(env, volume));
    return event;
  }

  const std::shared_ptr<EventQueue> events_;
  const uint32_t volume_;
};

VolumeConfig ToVolumeConfig(const Napi::Object& from) {
  VolumeConfig config;
  config.journal.directory = ToText(from.Get("journalDirectory"));
  config.journal.volume = ToUid(from.Get("uid"));
  config.journal.journal_id = ToUid(from.Get("journalId"));
  config.journal.base_epoch = ToU64(from.Get("baseEpoch"));
  config.journal.base_seq = ToU64(from.Get("baseSeq"));
  config.journal.base_record_seq = 0;
  config.journal.epoch = ToU64(from.Get("epoch"));
  config.journal.capacity_bytes = ToU64(from.Get("journalBytes"));
  config.journal.file_bytes = static_cast<uint32_t>(ToU64(from.Get("journalFileBytes")));
  config.flush_to_store = from.Get("flushToStore").ToBoolean();
  config.dirty_bytes_max = ToU64(from.Get("dirtyBytesMax"));
  config.batch_bytes = ToU64(from.Get("batchBytes"));
  config.map_bytes_max = ToU64(from.Get("mapBytesMax"));
  config.zstd_level = static_cast<int>(ToU64(from.Get("zstdLevel")));
  return config;
}

Result<VolumeBase> ToVolumeBase(const Napi::Object& from, const Uid& volume) {
  VolumeBase base;
  base.chunks = ToU32s(from.Get("chunks"));
  base.committed = {volume, ToU64(from.Get("committedEpoch")), ToU64(from.Get("committedSeq"))};
  base.committed_blocks = ToU64(from.Get("sizeBytes")) / kBlockBytes;
  base.journal_end = ToU64(from.Get("journalEnd"));
  const auto segments = from.Get("segments").As<Napi::Array>();
  for (uint32_t i = 0; i < segments.Length(); ++i) {
    auto index = DecodeSegmentIndex(ToSpan(segments[i]));
    if (!index.ok()) return index.error();
    base.segments.push_back(std::move(index.value()));
  }
  return base;
}

}  // namespace

Napi::Function EngineWrap::Define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {InstanceMethod<&EngineWrap::OpenVolume>("openVolume"),
                      InstanceMethod<&EngineWrap::CloseVolume>("closeVolume"),
                      InstanceMethod<&EngineWrap::InspectJournal>("inspectJournal"),
                      InstanceMethod<&EngineWrap::CacheHas>("cacheHas"),
                      InstanceMethod<&EngineWrap::CacheStats>("cacheStats"),
                      InstanceMethod<&EngineWrap::Close>("close"),
                      InstanceMethod<&EngineWrap::TakeBatch>("takeBatch"),
                      InstanceMethod<&EngineWrap::CommitBatch>("commitBatch"),
                      InstanceMethod<&EngineWrap::CompleteFetch>("completeFetch"),
                      InstanceMethod<&EngineWrap::RetryFetch>("retryFetch"),
                      InstanceMethod<&EngineWrap::CompleteChunk>("completeChunk"),
                      InstanceMethod<&EngineWrap::Capture>("capture"),
                      InstanceMethod<&EngineWrap::CheckpointDone>("checkpointDone"),
                      InstanceMethod<&EngineWrap::Grow>("grow"),
                      InstanceMethod<&EngineWrap::Fail>("fail"),
                      InstanceMethod<&EngineWrap::Stats>("stats"),
                      InstanceMethod<&EngineWrap::ListenNbd>("listenNbd"),
                      InstanceMethod<&EngineWrap::CloseNbd>("closeNbd"),
                      InstanceMethod<&EngineWrap::StartUblk>("startUblk"),
                      InstanceMethod<&EngineWrap::StopUblk>("stopUblk"),
                      InstanceMethod<&EngineWrap::ResizeUblk>("resizeUblk"),
                      InstanceMethod<&EngineWrap::AbandonUblk>("abandonUblk"),
                      InstanceMethod<&EngineWrap::ListenHandoff>("listenHandoff"),
                      InstanceMethod<&EngineWrap::CloseHandoffListener>("closeHandoffListener"),
                      InstanceMethod<&EngineWrap::ConnectHandoff>("connectHandoff"),
                      InstanceMethod<&EngineWrap::ReadHandoff>("readHandoff"),
                      InstanceMethod<&EngineWrap::SendHandoff>("sendHandoff"),
                      InstanceMethod<&EngineWrap::HandoffPeerAlive>("handoffPeerAlive"),
                      InstanceMethod<&EngineWrap::KillHandoffPeer>("killHandoffPeer"),
                      InstanceMethod<&EngineWrap::CloseHandoff>("closeHandoff"),
                      InstanceMethod<&EngineWrap::HoldJournal>("holdJournal"),
                      InstanceMethod<&EngineWrap::CatchUp>("catchUp"),
                      InstanceMethod<&EngineWrap::GiveAll>("giveAll"),
                      InstanceMethod<&EngineWrap::TakeAll>("takeAll"),
                      InstanceMethod<&EngineWrap::RestoreKernel>("restoreKernel"),
                      InstanceMethod<&EngineWrap::OpenCacheFile>("openCacheFile")});
}

// new Engine({cacheDirectory, ramBytes, fileBytes, uploadNice}, onEvents)
EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
  const auto config = info[0].As<Napi::Object>();
  auto cache = CleanCache::Open({.directory = ToText(config.Get("cacheDirectory")),
                                 .ram_bytes = ToU64(config.Get("ramBytes")),
                                 .file_bytes = ToU64(config.Get("fileBytes"))});
  if (!cache.ok()) {
    const Napi::Error error = Napi::Error::New(info.Env(), cache.error().what);
    error.Set("errno", Napi::Number::New(info.Env(), cache.error().code));
    error.ThrowAsJavaScriptException();
    return;
  }
  cache_ = std::move(cache.value());
  background_ = std::make_unique<Worker>(static_cast<int>(ToU64(config.Get("uploadNice"))));
  foreground_ = std::make_unique<Worker>(0);
  control_ = std::make_unique<Worker>(0);
  messages_ = std::make_unique<Worker>(0);
  window_ = std::make_unique<Worker>(0);
  events_ = std::make_shared<EventQueue>(info.Env(), info[1].As<Napi::Function>());
  sockets_ = std::make_unique<HandoffSockets>(events_);
}

EngineWrap::~EngineWrap() {
  if (events_ != nullptr) events_->Close();
  sockets_.reset();  // First: it ends what the two below wait for.
  window_.reset();
  messages_.reset();
  control_.reset();
  for (auto& [number, server] : volumes_) server->Close();
  volumes_.clear();
}

void EngineWrap::Done(uint32_t call, Make make) {
  events_->Push([call, make = std::move(make)](Napi::Env env) -> Napi::Value {
    Napi::Object event = Napi::Object::New(env);
    event.Set("type", "done");
    event.Set("call", FromU64(env, call));
    event.Set("value", make(env));
    return event;
  });
}

void EngineWrap::Done(uint32_t call) {
  Done(call, [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

void EngineWrap::Refuse(uint32_t call, Error error) {
  events_->Push([call, error](Napi::Env env) -> Napi::Value {
    Napi::Object event = Napi::Object::New(env);
    event.Set("type", "done");
    event.Set("call", FromU64(env, call));
    event.Set("error", FromError(env, error));
    return event;
  });
}

EngineWrap::Server EngineWrap::Find(const Napi::CallbackInfo& info) {
  const auto found = volumes_.find(VolumeOf(info));
  if (found != volumes_.end()) return found->second;
  Refuse(CallOf(info), {ENODEV, "the volume is not attached here"});
  return nullptr;
}

// (call, volume, config, base, warm) -> stats
void EngineWrap::OpenVolume(const Napi::CallbackInfo& info) {
  const uint32_t call = CallOf(info);
  const uint32_t number = VolumeOf(info);
  WEIR_CHECK(!volumes_.contains(number));
  VolumeConfig config = ToVolumeConfig(info[2].As<Napi::Object>());
  auto base = ToVolumeBase(info[3].As<Napi::Object>(), config.journal.volume);
  if (!base.ok()) {
    Refuse(call, base.error());
    return;
  }
  auto server = std::make_shared<VolumeServer>(
      VolumeServer::Parts{.cache = cache_.get(),
                          .background = background_.get(),
                          .foreground = foreground_.get(),
                          .host = std::make_unique<EventHost>(events_, number)});
  volumes_.emplace(number, server);
  const bool warm = info[4].ToBoolean();
  server->Start(
      std::move(config), std::move(base.value()),
      [this, call](Result<VolumeStats> stats) {
        if (stats.ok()) {
          Done(call, [stats = stats.value()](Napi::Env env) { return FromStats(env, stats); });
        } else {
          Refuse(call, stats.error());
        }
      },
      warm ? VolumeServer::Mode::kWarm : VolumeServer::Mode::kOwner);
}

// (call, volume). Also the way out after a failed open.
void EngineWrap::CloseVolume(const Napi::CallbackInfo& info) {
  Server server = Find(info);
  if (server == nullptr) return;
  volumes_.erase(VolumeOf(info));
  control_->Post([this, call = CallOf(info), server = std::move(server)]() mutable {
    server->Close();
    server.reset();
    Done(call);
  });
}

// (directory) -> {journalId, volume, baseEpoch, baseSeq} | null | {errno, what}
Napi::Value EngineWrap::InspectJournal(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto found = Journal::Inspect(ToText(info[0]));
  if (!found.ok() && found.error().code == ENOENT) return env.Null();
  if (!found.ok()) return FromError(env, found.error());
  Napi::Object object = Napi::Object::New(env);
  object.Set("journalId", ToHex(found.value().journal_id));
  object.Set("volume", ToHex(found.value().volume));
  object.Set("baseEpoch", FromU64(env, found.value().base_epoch));
  object.Set("baseSeq", FromU64(env, found.value().base_seq));
  return object;
}

// (volumeUid, epoch, seq, offset, blocks) -> the whole frame is in the clean cache
Napi::Value EngineWrap::CacheHas(const Napi::CallbackInfo& info) {
  const FrameKey key{{ToUid(info[0]), ToU64(info[1]), ToU64(info[2])},
                     static_cast<uint32_t>(ToU64(info[3]))};
  return Napi::Boolean::New(info.Env(), cache_->Contains(key));
}

Napi::Value EngineWrap::CacheStats(const Napi::CallbackInfo& info) {
  const CleanCache::Stats stats = cache_->stats();
  const Napi::Env env = info.Env();
  Napi::Object object = Napi::Object::New(env);
  object.Set("ramHits", FromU64(env, stats.ram_hits));
  object.Set("fileHits", FromU64(env, stats.file_hits));
  object.Set("misses", FromU64(env, stats.misses));
  object.Set("ramBytes", FromU64(env, stats.ram_bytes));
  object.Set("fileBytes", FromU64(env, stats.file_bytes));
  object.Set("corrupt", FromU64(env, stats.corrupt));
  return object;
}

// (call). REQUIRES that every volume was closed.
void EngineWrap::Close(const Napi::CallbackInfo& info) {
  WEIR_CHECK(volumes_.empty());
  events_->Close();
  cache_.reset();  // Its file may have another owner from now on.
  static_cast<void>(info);
}

}  // namespace weir::addon
