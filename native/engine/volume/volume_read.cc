// Reads: the journal first, then the clean cache by way of the stable map, then the bucket. A block
// that cannot be had is an error, never zeroes.
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/volume/volume.h"

namespace weir {

[[gnu::flatten]] void Volume::StartRead(IoRequest* request) {
  const uint64_t first = request->offset_bytes / kBlockBytes;
  const uint64_t end = first + request->length_bytes / kBlockBytes;
  int error = 0;
  for (uint64_t block = first; block < end;) {
    std::byte* out = request->data + (block - first) * kBlockBytes;
    Extent piece;
    uint64_t hole_end = end;
    if (in_journal_.Find(block, end, &piece, &hole_end)) {
      if (!ReadJournal(piece, out)) {
        // What is stable has another copy in the bucket; what is dirty has none (I8).
        if (piece.journal < stable_end_) {
          ReadStable(request, piece.start, piece.end(), out);
        } else {
          error = -EIO;
        }
      }
      block = piece.end();
    } else {
      ReadStable(request, block, hole_end, out);
      block = hole_end;
    }
  }
  const auto pending = pending_reads_.empty() ? pending_reads_.end() : pending_reads_.find(request);
  if (pending != pending_reads_.end()) {
    if (pending->second.outstanding > 0) {
      if (error != 0) pending->second.failed = true;
      return;
    }
    pending_reads_.erase(pending);
  }
  Finish(request, error);
}

bool Volume::ReadJournal(const Extent& piece, std::byte* out) {
  if (piece.kind == PlaceKind::kZero) {
    std::memset(out, 0, piece.count * kBlockBytes);
    return true;
  }
  const auto count = static_cast<uint32_t>(piece.count);
  return journal_->Read(piece.journal, piece.start, count, out).ok();
}

void Volume::ReadStable(IoRequest* request, uint64_t from, uint64_t to, std::byte* out) {
  for (uint64_t block = from; block < to;) {
    Extent piece;
    uint32_t chunk = 0;
    switch (stable_->Find(block, to, &piece, &chunk)) {
      case StableMap::Lookup::kFrame:
        ReadFrame(request, piece, out);
        break;
      case StableMap::Lookup::kZero:
        std::memset(out, 0, piece.count * kBlockBytes);
        break;
      case StableMap::Lookup::kUnknown: {
        auto& waiters = chunk_waiters_[chunk];
        if (waiters.empty()) host_.OnChunkWanted(chunk);
        waiters.push_back(request);
        ++pending_reads_[request].outstanding;
        break;
      }
    }
    out += piece.count * kBlockBytes;
    block = piece.end();
  }
}

void Volume::ReadFrame(IoRequest* request, const Extent& piece, std::byte* out) {
  const FrameKey key{stable_->segments().at(piece.frame.segment), piece.frame.offset};
  const auto pending = pending_reads_.find(request);
  if (pending != pending_reads_.end()) {
    for (const auto& [held, frame] : pending->second.frames) {
      if (held != key) continue;
      std::memcpy(out, frame->data() + piece.frame.block * kBlockBytes, piece.count * kBlockBytes);
      return;
    }
  }
  if (cache_.Read(key, piece.frame.block, static_cast<uint32_t>(piece.count), out)) return;

  auto [known, fresh] = fetch_by_key_.try_emplace(key, next_fetch_id_);
  if (fresh) {
    ++next_fetch_id_;
    ++counters_.fetches;
    fetches_[known->second] = {.key = key, .frame_blocks = piece.frame.frame_blocks, .waiters = {}};
    host_.OnFetchWanted(known->second, key, piece.frame.length);
  }
  fetches_[known->second].waiters.push_back(request);
  ++pending_reads_[request].outstanding;
}

void Volume::CompleteFetch(uint64_t fetch_id, std::vector<std::byte> bytes,
                           std::function<void(bool)> stored) {
  const auto fetch = fetches_.find(fetch_id);
  if (fetch == fetches_.end()) {  // The volume failed meanwhile.
    stored(false);
    return;
  }
  if (bytes.empty()) {
    FinishFetch(fetch_id, nullptr, true);
    stored(false);
    return;
  }
  foreground_.Post([this, fetch_id, key = fetch->second.key, blocks = fetch->second.frame_blocks,
                    bytes = std::move(bytes), stored = std::move(stored)] {
    auto frame = std::make_shared<std::vector<std::byte>>(size_t{blocks} * kBlockBytes);
    const bool ok = DecodeFrame(key.segment, key.offset, blocks, bytes, *frame).ok();
    if (ok) cache_.Insert(key, blocks, 0, blocks, frame->data());
    loop_.Post([this, fetch_id, frame = Frame(std::move(frame)), ok, stored] {
      // Bytes that do not verify may come right the next time: the host decides to fetch again.
      if (ok) FinishFetch(fetch_id, frame, false);
      stored(ok);
    });
  });
}

void Volume::RetryFetch(uint64_t fetch_id) { FinishFetch(fetch_id, nullptr, false); }

void Volume::FinishFetch(uint64_t fetch_id, const Frame& frame, bool failed) {
  const auto fetch = fetches_.find(fetch_id);
  if (fetch == fetches_.end()) return;
  const Fetch done = std::move(fetch->second);
  fetches_.erase(fetch);
  fetch_by_key_.erase(done.key);
  Resume(done.waiters, &done.key, frame, failed);
}

bool Volume::CompleteChunk(uint32_t chunk, std::span<const std::byte> payload) {
  const bool failed = payload.empty();
  if (!failed && !stable_->LoadChunk(chunk, payload).ok()) return false;
  const auto waiting = chunk_waiters_.find(chunk);
  if (waiting == chunk_waiters_.end()) return true;
  const std::vector<IoRequest*> waiters = std::move(waiting->second);
  chunk_waiters_.erase(waiting);
  Resume(waiters, nullptr, nullptr, failed);
  return true;
}

void Volume::Resume(const std::vector<IoRequest*>& waiters, const FrameKey* key, const Frame& frame,
                    bool failed) {
  for (IoRequest* request : waiters) {
    const auto pending = pending_reads_.find(request);
    if (pending == pending_reads_.end()) continue;
    PendingRead& read = pending->second;
    if (failed) read.failed = true;
    if (frame != nullptr) read.frames.emplace_back(*key, frame);
    if (--read.outstanding > 0) continue;
    if (read.failed) {
      pending_reads_.erase(pending);
      Finish(request, -EIO);
    } else {
      StartRead(request);
    }
  }
}

}  // namespace weir
