// A volume's append-only local log of acknowledged writes (JOURNAL.md has the byte tables).
//
// Thread: owned by the volume's loop thread; Read() alone may also be called by a worker thread for
//   addresses in files that are not recycled meanwhile.
// Invariants: (1) records are appended with sequence numbers 1, 2, 3, ... without a hole;
//   (2) Commit() has put every staged record into the page cache when it returns, so the death of
//       this process loses nothing that was committed; (3) what survives a power cut is a prefix of
//       the record order (I3); (4) a failed write or fdatasync is final: the journal refuses
//       everything afterwards and never retries the sync.
// Crash: replay ends at the first record that does not verify, provided nothing behind it proves
//   that the record had been synced; otherwise Open() fails with EBADMSG (I8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/types.h"

namespace weir {

namespace journal {
class JournalDisk;
struct OpenFolder;
enum class BackgroundMode : uint8_t;
}  // namespace journal

// Each block lies in the journal behind an 8-byte prefix (checksum, low half of its block number).
inline constexpr uint32_t kJournalBlockStride = kBlockBytes + 8;
inline constexpr uint32_t kJournalRecordBlocksMax = 256;

enum class RecordType : uint8_t { kWrite = 1, kZeroes = 2, kResize = 3 };

// One record as the map and the upload see it. `addr` is that of the first block (kWrite), the
// next block follows kJournalBlockStride further on; for the others it is the record's own place,
// so addr always grows with seq.
struct JournalRecord {
  uint64_t seq = 0;
  RecordType type = RecordType::kWrite;
  uint64_t start_block = 0;  // kResize: the new size in blocks
  uint32_t block_count = 0;  // kZeroes: up to 2^32-1
  JournalAddr addr;
};

struct JournalConfig {
  std::string directory;  // this volume's own folder; made if absent
  Uid volume;
  Uid journal_id;           // used only when a new journal is made: random, by the caller
  uint64_t base_epoch = 0;  // likewise: the log position the new journal starts from
  uint64_t base_seq = 0;
  uint64_t base_record_seq = 0;  // records so far; a new journal's first record is this + 1
  uint64_t epoch = 0;            // stamped into every record from now on
  // Records known to be in committed segments. A power cut may leave the journal behind them; it
  // then goes on after this one, because the numbers up to here are used up.
  uint64_t stable_seq = 0;
  uint64_t capacity_bytes = 1ULL << 30;  // at least two files
  uint32_t file_bytes = 64U << 20;  // of a new journal; whole pages, room for the largest record
};

// What names a journal: checked against the newest committed segment before replay.
struct JournalIdentity {
  Uid journal_id;
  Uid volume;
  uint64_t base_epoch = 0;
  uint64_t base_seq = 0;
};

// What the process that takes a journal over must know of its end, and checks with its own reading.
struct JournalHandover {
  uint64_t committed_seq = 0;
  uint64_t synced_seq = 0;
  uint32_t next_number = 1;    // for the next new file
  uint32_t newest_number = 0;  // the file with the last record; 0: none
  uint32_t newest_end = 0;     // where its next record would go
  bool newest_sealed = false;  // it takes none: its footer is written, or will be
};

class Journal {
 public:
  // The identity of the journal in `directory`: ENOENT if there is none, EBADMSG if unreadable.
  static Result<JournalIdentity> Inspect(const std::string& directory);
  // Opens or makes the journal, holding an exclusive OFD lock on the folder's lock file (EBUSY if
  // another process has it), and calls `replay` for every surviving record in order. EBADMSG:
  // corruption in front of synced records. EXDEV: it belongs to another volume.
  // Ready to append when it returns; the surviving tail is synced: what is replayed is durable.
  static Result<std::unique_ptr<Journal>> Open(
      const JournalConfig& config, const std::function<void(const JournalRecord&)>& replay);
  // The same on any JournalDisk (tests).
  static Result<std::unique_ptr<Journal>> OpenOn(
      std::unique_ptr<journal::JournalDisk> disk, journal::BackgroundMode mode,
      const JournalConfig& config, const std::function<void(const JournalRecord&)>& replay);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  [[nodiscard]] const JournalIdentity& identity() const noexcept;

  // Appending: Stage*() any number, then one Commit(). Data must stay put until Commit() returns.
  // CanStage() is false when no file has room for a record of that many data blocks (0 for the
  // data-less ones): the caller holds the write until files are recycled. It may also be false for
  // a moment while the next file is being prepared in the background; ready_fd() tells.
  [[nodiscard]] bool CanStage(uint32_t data_blocks) const noexcept;
  // REQUIRES CanStage(count) and 1 <= count <= kJournalRecordBlocksMax.
  JournalRecord StageWrite(uint64_t start_block, uint32_t count, const std::byte* data);
  // REQUIRES CanStage(0).
  JournalRecord StageZeroes(uint64_t start_block, uint32_t count);
  JournalRecord StageResize(uint64_t block_count);
  // Writes each touched file front to back, whole pages. On error the journal has failed for good.
  Result<void> Commit();
  [[nodiscard]] bool failed() const noexcept;

  // Syncing: the caller runs fdatasync itself (io_uring), because that is what waits.
  // sync_fds() are the files with records that no sync has covered; committed_seq() read before the
  // sync is what MarkSynced() takes after it. MarkFailed() when a sync failed.
  [[nodiscard]] std::span<const int> sync_fds() const noexcept;
  // The last record that Commit() covered; 0: none.
  [[nodiscard]] uint64_t committed_seq() const noexcept;
  [[nodiscard]] uint64_t synced_seq() const noexcept;
  void MarkSynced(uint64_t seq) noexcept;
  void MarkFailed() noexcept;

  // Reads and verifies `count` blocks that were appended at `addr` and on; `start_block` is what
  // the caller believes lies there. EBADMSG when a checksum or the block number does not match
  // (I8). On a worker thread REQUIRES that Recycle() of that file is ordered after it.
  Result<void> Read(JournalAddr addr, uint64_t start_block, uint32_t count, std::byte* out) const;

  // Visits records with seq > after_seq in order until `visit` returns false.
  void Visit(uint64_t after_seq, const std::function<bool(const JournalRecord&)>& visit) const;

  // Recycling. Files are numbered; the oldest goes first. A file may be recycled when all its
  // records are stable and no map points into it.
  struct FileInfo {
    uint32_t number = 0;
    uint64_t first_seq = 0;  // first record in it
    uint64_t last_seq = 0;   // 0: no record yet
    bool sealed = false;     // no more appends
  };
  [[nodiscard]] FileInfo oldest_file() const noexcept;
  // REQUIRES oldest_file().sealed. Crash: the file is either still replayable or gone.
  Result<void> RecycleOldest();

  [[nodiscard]] uint64_t used_bytes() const noexcept;  // in files that hold records
  [[nodiscard]] uint64_t capacity_bytes() const noexcept;
  [[nodiscard]] uint64_t index_memory_bytes() const noexcept;
  // Readable (eventfd) when a background preparation finished; the owner then calls OnReady().
  [[nodiscard]] int ready_fd() const noexcept;
  void OnReady();
  // Why the next file is not ready: an errno such as ENOSPC, retried every second; 0: no problem.
  [[nodiscard]] int last_prepare_error() const noexcept;

  // Giving the journal to another process, which reads along already (warm_journal.h). Pause, wait
  // until background_at_rest() (any thread), Commit() what is staged: from then on only an append
  // would change anything on disk. A journal that stays is resumed.
  void PauseBackground();
  void ResumeBackground();
  [[nodiscard]] bool background_at_rest() const noexcept;
  // REQUIRES background_at_rest() and nothing staged.
  [[nodiscard]] JournalHandover handover() const noexcept;
  // Holds the folder's lock; a copy of it is what makes the other process the owner.
  [[nodiscard]] int lock_fd() const noexcept;
  // The other process owns it: this object never touches the folder again. REQUIRES at rest.
  void LetGo() noexcept;
  // Files are on their way to be used again.
  [[nodiscard]] bool recycling();

 private:
  friend class WarmJournal;
  struct State;
  static Result<std::unique_ptr<Journal>> Assemble(std::unique_ptr<journal::JournalDisk> disk,
                                                   journal::BackgroundMode mode, uint64_t epoch,
                                                   journal::OpenFolder& folder);
  explicit Journal(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace weir
