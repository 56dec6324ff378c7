// The data path's control calls: upload batches, fetches, map chunks, checkpoints, growth.
#include <cerrno>
#include <utility>

#include "addon/convert.h"
#include "addon/engine_wrap.h"
#include "engine/segment/chunk_codec.h"

namespace weir::addon {
namespace {

// Level for checkpoint chunks: written rarely, read at every attach.
constexpr int kChunkZstdLevel = 3;

Napi::Value FromCapture(Napi::Env env, const CheckpointCapture& capture,
                        std::vector<std::vector<std::byte>>& payloads) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("epoch", FromU64(env, capture.epoch));
  object.Set("seq", FromU64(env, capture.seq));
  object.Set("journalEnd", FromU64(env, capture.journal_end));
  object.Set("sizeBytes", FromU64(env, capture.volume_blocks * kBlockBytes));
  Napi::Array missing = Napi::Array::New(env, capture.missing_chunks.size());
  for (size_t i = 0; i < capture.missing_chunks.size(); ++i) {
    missing.Set(static_cast<uint32_t>(i), FromU64(env, capture.missing_chunks[i]));
  }
  object.Set("missing", missing);
  Napi::Array chunks = Napi::Array::New(env, capture.images.size());
  for (size_t i = 0; i < capture.images.size(); ++i) {
    Napi::Object chunk = Napi::Object::New(env);
    chunk.Set("chunk", FromU64(env, capture.images[i].chunk));
    chunk.Set("empty", Napi::Boolean::New(env, capture.images[i].extents.empty()));
    chunk.Set("bytes", FromBytes(env, std::move(payloads[i])));
    chunks.Set(static_cast<uint32_t>(i), chunk);
  }
  object.Set("chunks", chunks);
  return object;
}

}  // namespace

Napi::Value FromStats(Napi::Env env, const VolumeStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) { object.Set(name, FromU64(env, value)); };
  set("sizeBytes", stats.size_bytes);
  set("dirtyBytes", stats.dirty_bytes);
  set("dirtyAgeMs", stats.dirty_age_ms);
  set("unbatchedBytes", stats.unbatched_bytes);
  set("journalUsedBytes", stats.journal_used_bytes);
  set("journalCapacityBytes", stats.journal_capacity_bytes);
  set("journalIndexBytes", stats.journal_index_bytes);
  set("mapBytes", stats.map_bytes);
  set("mapExtents", stats.map_extents);
  set("reads", stats.reads);
  set("writes", stats.writes);
  set("flushes", stats.flushes);
  set("discards", stats.discards);
  set("readBytes", stats.read_bytes);
  set("writtenBytes", stats.written_bytes);
  set("fetches", stats.fetches);
  set("held", stats.held);
  set("ioErrors", stats.io_errors);
  set("committedEpoch", stats.committed_epoch);
  set("committedSeq", stats.committed_seq);
  set("journalEnd", stats.journal_end);
  set("replayedRecords", stats.replayed_records);
  return object;
}

// (call, volume, epoch, seq, nonce, createdAtMs) -> {bytes, rawBytes, journalEnd} | null
void EngineWrap::TakeBatch(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  const BatchRequest request{.epoch = ToU64(info[2]),
                             .seq = ToU64(info[3]),
                             .nonce = ToUid(info[4]),
                             .created_at_ms = ToU64(info[5])};
  server->With([this, call = CallOf(info), request](VolumeServer& at) {
    at.volume().TakeBatch(request, [this, call](Result<Batch> taken) {
      if (!taken.ok()) {
        Refuse(call, taken.error());
        return;
      }
      auto batch = std::make_shared<Batch>(std::move(taken.value()));
      Done(call, [batch](Napi::Env env) -> Napi::Value {
        if (batch->bytes.empty()) return env.Null();
        Napi::Object object = Napi::Object::New(env);
        object.Set("rawBytes", FromU64(env, batch->raw_bytes));
        object.Set("journalEnd", FromU64(env, batch->journal_end));
        object.Set("bytes", FromBytes(env, std::move(batch->bytes)));
        return object;
      });
    });
  });
}

// (call, volume)
void EngineWrap::CommitBatch(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    at.volume().CommitBatch();
    Done(call);
  });
}

// (call, volume, fetch, bytes) -> the frame verified; empty bytes: give up, EIO
void EngineWrap::CompleteFetch(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  const auto span = ToSpan(info[3]);
  auto bytes = std::make_shared<std::vector<std::byte>>(span.begin(), span.end());
  server->With([this, call = CallOf(info), fetch = ToU64(info[2]), bytes](VolumeServer& at) {
    at.volume().CompleteFetch(fetch, std::move(*bytes), [this, call](bool stored) {
      Done(call, [stored](Napi::Env env) { return Napi::Boolean::New(env, stored); });
    });
  });
}

// (call, volume, fetch)
void EngineWrap::RetryFetch(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info), fetch = ToU64(info[2])](VolumeServer& at) {
    at.volume().RetryFetch(fetch);
    Done(call);
  });
}

// (call, volume, chunk, payload) -> the payload verified; empty payload: give up, EIO
void EngineWrap::CompleteChunk(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  const auto span = ToSpan(info[3]);
  auto bytes = std::make_shared<std::vector<std::byte>>(span.begin(), span.end());
  const auto chunk = static_cast<uint32_t>(ToU64(info[2]));
  server->With([this, call = CallOf(info), chunk, bytes](VolumeServer& at) {
    const bool ok = at.volume().CompleteChunk(chunk, *bytes);
    Done(call, [ok](Napi::Env env) { return Napi::Boolean::New(env, ok); });
  });
}

// (call, volume) -> {epoch, seq, journalEnd, sizeBytes, missing[], chunks[{chunk, empty, bytes}]}
void EngineWrap::Capture(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    auto capture = std::make_shared<CheckpointCapture>(at.volume().CaptureCheckpoint());
    background_->Post([this, call, capture] {
      auto payloads = std::make_shared<std::vector<std::vector<std::byte>>>();
      payloads->reserve(capture->images.size());
      for (const ChunkImage& image : capture->images) {
        payloads->push_back(EncodeChunk(image, kChunkZstdLevel));
      }
      Done(call, [capture, payloads](Napi::Env env) -> Napi::Value {
        return FromCapture(env, *capture, *payloads);
      });
    });
  });
}

// (call, volume, chunks)
void EngineWrap::CheckpointDone(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info), chunks = ToU32s(info[2])](VolumeServer& at) {
    at.volume().CheckpointDone(chunks);
    Done(call);
  });
}

// (call, volume, sizeBytes)
void EngineWrap::Grow(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  const uint64_t blocks = ToU64(info[2]) / kBlockBytes;
  server->With([this, call = CallOf(info), blocks](VolumeServer& at) {
    at.volume().Grow(blocks, [this, call](Result<void> grown) {
      if (grown.ok()) {
        Done(call);
      } else {
        Refuse(call, grown.error());
      }
    });
  });
}

// (call, volume)
void EngineWrap::Fail(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    at.volume().Fail({EIO, "the volume was told to stop"});
    Done(call);
  });
}

// (call, volume) -> stats
void EngineWrap::Stats(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    Done(call, [stats = at.volume().stats()](Napi::Env env) { return FromStats(env, stats); });
  });
}

}  // namespace weir::addon
