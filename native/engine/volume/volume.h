// One volume's data path: journal in front, stable map and clean cache behind, uploads taken out in
// journal order. ARCHITECTURE.md tells the flows; invariants I1-I4, I8 are kept here.
//
// Thread: everything runs on the volume's loop thread. Callbacks given to methods are called on it
// too. Ownership: the loop, the cache and the workers belong to the caller. Destroy the volume
// after the loop's
//   thread was joined, both workers have run what was posted before that, and the ring was closed.
// Crash: whatever was acknowledged is in the journal's page cache; replay is Open() itself.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/cache/clean_cache.h"
#include "engine/journal/journal.h"
#include "engine/journal/warm_journal.h"
#include "engine/loop/loop.h"
#include "engine/loop/member_round_end.h"
#include "engine/map/stable_map.h"
#include "engine/volume/backpressure.h"
#include "engine/volume/block_device.h"
#include "engine/volume/flusher.h"
#include "engine/volume/worker.h"

namespace weir {

// What a volume asks of its host (the TypeScript side, through the addon, or a test).
// Called on the loop thread; must not call back into the volume from inside.
class VolumeHost {
 public:
  virtual ~VolumeHost() = default;
  // Fetch exactly [key.offset, key.offset + length) of the segment, then call CompleteFetch(id).
  virtual void OnFetchWanted(uint64_t fetch_id, const FrameKey& key, uint32_t length) = 0;
  // Read that chunk of the newest checkpoint, then call CompleteChunk().
  virtual void OnChunkWanted(uint32_t chunk) = 0;
  // Data waits to be uploaded. `urgent`: the batch is full, the journal fills up or a flush waits.
  virtual void OnDirty(bool urgent) = 0;
  // The volume gave up: every request ends in EIO from now on.
  virtual void OnFailed(Error error) = 0;
};

struct VolumeConfig {
  JournalConfig journal;
  bool flush_to_store = false;  // durability class s3: FLUSH waits for the segment's commit
  uint64_t dirty_bytes_max = 256U << 20;  // backpressure bound of this volume
  uint64_t batch_bytes = 8U << 20;        // live bytes in one segment
  uint64_t map_bytes_max = 256U << 20;    // stable map memory before unchanged chunks are evicted
  int zstd_level = 1;
};

// The committed log as the attach found it.
struct VolumeBase {
  std::vector<uint32_t> chunks;        // chunk indexes in the checkpoint, ascending
  std::vector<SegmentIndex> segments;  // behind the checkpoint, in log order
  SegmentId committed;                 // the position all this stands for; seq 0: an empty log
  uint64_t committed_blocks = 0;       // the volume's size there
  uint64_t journal_end = 0;            // records of our journal that the log already holds
};

struct BatchRequest {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  Uid nonce;
  uint64_t created_at_ms = 0;
};

struct Batch {
  std::vector<std::byte> bytes;  // the segment object; empty: nothing to upload
  uint64_t raw_bytes = 0;
  uint64_t journal_end = 0;
};

struct CheckpointCapture {
  std::vector<uint32_t> missing_chunks;  // load these first and capture again; then images is empty
  std::vector<ChunkImage> images;
  uint64_t epoch = 0, seq = 0;  // position captured
  uint64_t journal_end = 0;
  uint64_t volume_blocks = 0;
};

struct VolumeStats {
  uint64_t size_bytes = 0;
  uint64_t dirty_bytes = 0;   // acknowledged, not committed
  uint64_t dirty_age_ms = 0;  // of the oldest such write
  uint64_t unbatched_bytes = 0;
  uint64_t journal_used_bytes = 0, journal_capacity_bytes = 0;
  uint64_t journal_index_bytes = 0;
  uint64_t map_bytes = 0, map_extents = 0;
  uint64_t reads = 0, writes = 0, flushes = 0, discards = 0;
  uint64_t read_bytes = 0, written_bytes = 0;
  uint64_t fetches = 0, held = 0, io_errors = 0;
  uint64_t committed_epoch = 0, committed_seq = 0;
  uint64_t journal_end = 0;  // number of the last record that was acknowledged
  uint64_t replayed_records = 0;
};

// The address just behind a record: greater than every block of it, at most that of the next
// record.
[[nodiscard]] constexpr JournalAddr EndOf(const JournalRecord& record) noexcept {
  const uint64_t length =
      record.type == RecordType::kWrite ? uint64_t{record.block_count} * kJournalBlockStride : 1;
  return JournalAddr{record.addr.value + length};
}

class Volume final : public BlockDevice, private RoundEnd, private FlushListener {
 public:
  struct Parts {
    Loop* loop = nullptr;
    CleanCache* cache = nullptr;
    Worker* background = nullptr;  // segment builds, journal recycling
    Worker* foreground = nullptr;  // frame decodes
    VolumeHost* host = nullptr;
  };
  // Replays the journal over the committed log. REQUIRES that the loop does not run yet. Errors are
  // the journal's (journal.h); EBADMSG also for a segment index that does not fit.
  static Result<std::unique_ptr<Volume>> Open(const Parts& parts, const VolumeConfig& config,
                                              VolumeBase base);
  // The same beside a writer in another process, whose journal is read along: nothing on disk is
  // changed, and REQUIRES that no request is submitted before Adopt(). ENOENT: there is no journal.
  static Result<std::unique_ptr<Volume>> OpenWarm(const Parts& parts, const VolumeConfig& config,
                                                  VolumeBase base);
  ~Volume();

  // BlockDevice
  void Submit(IoRequest* request) override;
  [[nodiscard]] uint64_t size_bytes() const override;

  // Takes the next batch of journal records for upload as one segment; `done` gets an empty batch
  // when everything is taken already. Batches are committed or failed in the order they were taken.
  void TakeBatch(const BatchRequest& request, std::function<void(Result<Batch>)> done);
  // The oldest taken batch is in the bucket, and so is all before it.
  void CommitBatch();

  // `bytes` empty: could not be had before the deadline; the waiting reads end in EIO. `stored` is
  // called when the frame is in the clean cache (or was refused: false = the bytes do not verify).
  void CompleteFetch(uint64_t fetch_id, std::vector<std::byte> bytes,
                     std::function<void(bool)> stored);
  // The frame is in the clean cache already (another volume fetched it): look again.
  void RetryFetch(uint64_t fetch_id);
  // `payload` empty: could not be had. Returns false when the payload does not verify.
  bool CompleteChunk(uint32_t chunk, std::span<const std::byte> payload);

  [[nodiscard]] CheckpointCapture CaptureCheckpoint();
  void CheckpointDone(std::span<const uint32_t> chunks);

  // Appends the new size; `done` when it is durable locally. REQUIRES blocks >= the present size.
  void Grow(uint64_t blocks, std::function<void(Result<void>)> done);
  // Handing over (volume_handoff.cc; handoff/ has the order of the steps).
  // A warm volume: WarmJournal's calls, applied to the maps. After Adopt() it serves; if that
  // failed, every request ends in EIO.
  Result<uint64_t> CatchUp(uint64_t until_seq);
  Result<void> PrepareAdopt();
  [[nodiscard]] bool Matches(const JournalHandover& handover) const noexcept;
  Result<void> Adopt(const JournalHandover& handover, UniqueFd lock);
  // A serving volume: while calm it begins to recycle no file; `settled` runs when none is under
  // way any more.
  void SetCalm(bool calm, std::function<void()> settled);
  // Gives every request back that waits for the bucket or for room (kGivenBack), or with `syncs`
  // for the local disk too, whose syncs then end unheard. REQUIRES that the transports start
  // nothing further, and that a ring with syncs on it (`syncing`) is not closed.
  void GiveBackWaiting(bool syncs);
  // Another process owns the volume now: EIO for whatever comes, and not a word to the host.
  void LetGo();
  [[nodiscard]] bool syncing() const noexcept { return flusher_->syncing(); }
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  // Null while the volume is warm.
  [[nodiscard]] Journal* journal() noexcept { return journal_.get(); }

  // Ends the volume: EIO for everything held, waiting or yet to come (fenced, corrupt, given up).
  void Fail(Error error);
  [[nodiscard]] VolumeStats stats() const;

 private:
  using Frame = std::shared_ptr<const std::vector<std::byte>>;
  struct Fetch {
    FrameKey key;
    uint16_t frame_blocks = 0;
    std::vector<IoRequest*> waiters;
  };
  // A read that waits for frames or chunks. Frames stay here until the read has run again, so that
  // a cache too small to keep them cannot make it wait for ever.
  struct PendingRead {
    uint32_t outstanding = 0;
    bool failed = false;
    std::vector<std::pair<FrameKey, Frame>> frames;
  };
  struct TakenBatch {
    SegmentId id;
    SegmentIndex index;  // set when built
    bool built = false;
    uint64_t journal_end = 0;
    JournalAddr end;              // address behind the last record of the batch
    uint64_t since_ns = 0;        // when its oldest write came
    uint64_t appended_bytes = 0;  // journal bytes ever appended, up to this batch's end
  };
  struct BatchPlan {
    std::vector<Extent> extents;  // ascending; zeroes merged
    uint64_t journal_end = 0;
    JournalAddr end;
    uint64_t size_blocks = 0;  // 0: no record changed the size
    bool empty = true;
  };
  struct StagedWrite {
    IoRequest* request;
    uint64_t last_seq;
  };
  // Blocks on their way from a journal file to the clean cache.
  struct Move {
    JournalAddr from;
    uint64_t start = 0;
    uint32_t count = 0;
    FrameKey key;
    uint8_t frame_blocks = 0;
    uint8_t first = 0;
  };

  Volume(const Parts& parts, const VolumeConfig& config);
  void TakeBase(const VolumeBase& base);
  void BeginServing();
  void Replay(const JournalRecord& record, uint64_t journal_end);
  void OnRoundEnd() override;
  void OnDurable(IoRequest* request, int result) override;
  void OnSyncFailed() override;
  void Finish(IoRequest* request, int result);

  // volume_write.cc
  void SubmitWrite(IoRequest* request);
  bool Stage(IoRequest* request);
  void CommitRound();
  void SettleRound();
  void Settle();
  void ApplyRecord(const JournalRecord& record);
  void Forget(const Extent& replaced);
  void ReleaseHeld();
  void ScheduleRelease();
  [[nodiscard]] double Pressure() const;
  void NoteUnbatched();

  // volume_read.cc
  void StartRead(IoRequest* request);
  [[nodiscard]] bool ReadJournal(const Extent& piece, std::byte* out);
  void ReadStable(IoRequest* request, uint64_t from, uint64_t to, std::byte* out);
  void ReadFrame(IoRequest* request, const Extent& piece, std::byte* out);
  void Resume(const std::vector<IoRequest*>& waiters, const FrameKey* key, const Frame& frame,
              bool failed);
  void FinishFetch(uint64_t fetch_id, const Frame& frame, bool failed);

  // volume_upload.cc
  [[nodiscard]] BatchPlan PlanBatch() const;
  [[nodiscard]] uint64_t LiveBlocks(uint64_t start, uint64_t count, JournalAddr from,
                                    JournalAddr to) const;
  void MarkTaken(const BatchPlan& plan);
  void OnBatchBuilt(const std::shared_ptr<TakenBatch>& batch, Result<SegmentBuilder::Built> built,
                    uint64_t raw_bytes, const std::function<void(Result<Batch>)>& done);
  void EraseStableZeroes(std::span<const SegmentExtent> extents, JournalAddr end);

  // volume_recycle.cc
  [[nodiscard]] bool RecycleDue();
  void MaybeRecycle();
  [[nodiscard]] std::vector<Move> PlanMoves(const Journal::FileInfo& file);
  void FinishRecycle(const Journal::FileInfo& file);

  Loop& loop_;
  CleanCache& cache_;
  Worker& background_;
  Worker& foreground_;
  VolumeHost& host_;
  const VolumeConfig config_;
  uint64_t size_blocks_ = 0;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<WarmJournal> warm_;  // until Adopt()
  std::unique_ptr<Flusher> flusher_;
  std::unique_ptr<StableMap> stable_;
  ExtentMap in_journal_;  // newest place of every block that still lies in the journal

  // Writing.
  std::vector<JournalRecord> staged_records_;
  std::vector<JournalRecord> unsettled_records_;  // committed, perhaps acknowledged: see Settle()
  MemberRoundEnd<Volume, &Volume::SettleRound> settle_{this};
  std::vector<StagedWrite> staged_writes_;
  uint64_t last_seq_ = 0;  // of the last record staged
  Backpressure backpressure_;
  bool release_scheduled_ = false;
  uint64_t appended_bytes_ = 0;  // journal bytes appended since Open()

  // Uploading. Addresses below stable_end_ are committed; those below batch_end_ are in a batch.
  JournalAddr stable_end_;
  JournalAddr batch_end_;
  uint64_t batch_end_seq_ = 0;
  uint64_t stable_seq_ = 0;
  uint64_t stable_appended_bytes_ = 0;
  uint64_t batch_appended_bytes_ = 0;
  uint64_t dirty_blocks_ = 0;
  uint64_t unbatched_blocks_ = 0;
  uint64_t batch_blocks_ = 0;        // the volume's size at the end of the last batch taken
  uint64_t unbatched_since_ns_ = 0;  // 0: every record is in a batch
  bool urgent_told_ = false;
  std::deque<std::shared_ptr<TakenBatch>> taken_;
  SegmentId committed_;
  uint64_t committed_blocks_ = 0;  // the volume's size at that position
  bool recycling_ = false;
  bool awaiting_quiet_ = false;  // a timer will look again
  uint64_t last_io_ns_ = 0;      // of the last read or write
  bool calm_ = false;

  // Reading.
  uint64_t next_fetch_id_ = 1;
  std::map<FrameKey, uint64_t> fetch_by_key_;
  std::map<uint64_t, Fetch> fetches_;
  std::map<uint32_t, std::vector<IoRequest*>> chunk_waiters_;
  std::unordered_map<IoRequest*, PendingRead> pending_reads_;

  bool failed_ = false;
  VolumeStats counters_;
};

}  // namespace weir
