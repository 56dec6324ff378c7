#include "engine/journal/open_folder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/journal/prepare.h"
#include "engine/journal/replay.h"

namespace weir::journal {
namespace {

constexpr const char* kMetaName = "meta";
constexpr const char* kMetaNewName = "meta.new";
constexpr uint32_t kFileBytesMin = 64U << 10;
constexpr uint32_t kFileBytesMax = 1U << 30;

Result<void> CheckSizes(uint32_t file_bytes, uint64_t capacity_bytes) {
  if (file_bytes % kPageBytes != 0 || file_bytes < kFileBytesMin || file_bytes > kFileBytesMax) {
    return Error{EINVAL, "the journal's file size must be whole pages, 64 KiB to 1 GiB"};
  }
  if (capacity_bytes / file_bytes < 2) {
    return Error{EINVAL, "the journal's capacity must hold at least two of its files"};
  }
  return {};
}

Result<Meta> MakeMeta(JournalDisk& disk, const JournalConfig& config) {
  Meta meta;
  meta.file_bytes = config.file_bytes;
  meta.journal_id = config.journal_id;
  meta.volume = config.volume;
  meta.base_epoch = config.base_epoch;
  meta.base_seq = config.base_seq;
  meta.base_record_seq = config.base_record_seq;
  SealStruct(meta);
  const auto fd = DiskFd::Open(disk, kMetaNewName, JournalDisk::OpenMode::kMakeEmpty);
  if (!fd.ok()) return fd.error();
  const int raw = fd.value().get();
  if (const auto put = WriteAt(disk, raw, BytesOf(meta), 0); !put.ok()) return put.error();
  if (const auto synced = disk.Sync(raw); !synced.ok()) return synced.error();
  if (const auto named = disk.Rename(kMetaNewName, kMetaName); !named.ok()) return named.error();
  if (const auto synced = disk.SyncDirectory(); !synced.ok()) return synced.error();
  return meta;
}

// The mark comes first: a folder with `meta` is a whole journal.
Result<OpenFolder> MakeJournal(JournalDisk& disk, const JournalConfig& config) {
  const auto names = disk.List();
  if (!names.ok()) return names.error();
  for (const std::string& name : names.value()) {
    if (ParseFileName(name)) {
      return Error{EBADMSG, "the journal's meta file is missing beside its data files"};
    }
  }
  auto mark = MarkFile::Make(
      disk, config.journal_id,
      {.floor_seq = config.base_record_seq, .synced_seq = config.base_record_seq, .closed_seq = 0});
  if (!mark.ok()) return mark.error();
  if (const auto synced = disk.SyncDirectory(); !synced.ok()) return synced.error();
  const auto meta = MakeMeta(disk, config);
  if (!meta.ok()) return meta.error();
  return OpenFolder{.meta = meta.value(),
                    .mark = std::move(mark.value()),
                    .live = {},
                    .spares = {},
                    .unindexed = {},
                    .tail_seq = config.base_record_seq};
}

Result<OpenFolder> LoadJournal(JournalDisk& disk, const Meta& meta, const JournalConfig& config) {
  if (meta.volume != config.volume) return Error{EXDEV, "the journal belongs to another volume"};
  auto mark = MarkFile::Load(disk, meta.journal_id);
  if (!mark.ok()) return mark.error();
  auto replayed = ReplayFiles({.disk = disk,
                               .journal_id = meta.journal_id,
                               .file_bytes = meta.file_bytes,
                               .mark = mark.value().values(),
                               .stable_seq = config.stable_seq});
  if (!replayed.ok()) return replayed.error();
  if (replayed.value().highest_number == std::numeric_limits<uint32_t>::max()) {
    return Error{EOVERFLOW, "the journal has used up its file numbers; make a new journal"};
  }
  return OpenFolder{.meta = meta,
                    .mark = std::move(mark.value()),
                    .live = std::move(replayed.value().files),
                    .spares = std::move(replayed.value().leftovers),
                    .unindexed = {},
                    .tail_seq = replayed.value().tail_seq,
                    .next_number = replayed.value().highest_number + 1};
}

// Everything that survived is in committed segments, and so are records that did not survive.
void SkipToStable(OpenFolder& folder, uint64_t stable_seq) {
  if (stable_seq <= folder.tail_seq) return;
  std::move(folder.live.begin(), folder.live.end(), std::back_inserter(folder.spares));
  folder.live.clear();
  folder.tail_seq = stable_seq;
}

bool HasRoomForLap(const JournalFile& file, uint32_t file_bytes) {
  const uint64_t end = PageUp(file.end + RecordBytes(0));
  return end + FooterBytes(file.entries.size() + 1, file.laps.size() + 1) <= file_bytes;
}

// Writes the record that opens a new lap behind the last surviving record, so that whatever lies
// further on can never verify again. Not synced.
Result<void> BeginLap(JournalDisk& disk, OpenFolder& folder, uint64_t epoch) {
  JournalFile& file = folder.live.back();
  const uint32_t begin = PageDown(file.end);
  const uint32_t held = file.end - begin;
  std::array<std::byte, 2 * kPageBytes> pages{};
  const auto got = ReadAt(disk, file.fd.get(), std::span(pages).first(held), begin);
  if (!got.ok()) return got.error();
  if (got.value() != held) return Error{EIO, "the journal's newest file became shorter"};

  const Lap last = file.laps.back();
  RecordHeader header;
  header.type = kLapRecord;
  header.seq = file.next_seq();
  header.start_block = last.lap + 1;
  header.lap = last.lap;
  header.seed = last.seed;
  header.epoch = epoch;
  SealStruct(header);
  std::memcpy(pages.data() + held, &header, sizeof(header));
  file.end += RecordBytes(0);
  file.laps.push_back(
      {file.end, last.lap + 1, LapSeed(folder.meta.journal_id, file.number, last.lap + 1)});
  return WriteAt(disk, file.fd.get(), std::span(pages).first(PageUp(file.end) - begin), begin);
}

// Decides how each surviving file goes on and makes all of them durable.
Result<void> SettleLive(JournalDisk& disk, OpenFolder& folder, uint64_t epoch) {
  // The next Open() must not believe in the page cache if one of the syncs here fails.
  MarkFile::Values open = folder.mark.values();
  if (std::exchange(open.closed_seq, 0) != 0) {
    const auto put = folder.mark.Write(open, MarkFile::Durable::kNo);
    if (!put.ok()) return put;
  }
  for (JournalFile& file : folder.live) {
    if (file.sealed) continue;
    const bool newest = &file == &folder.live.back();
    if (newest && HasRoomForLap(file, folder.meta.file_bytes)) {
      if (const auto begun = BeginLap(disk, folder, epoch); !begun.ok()) return begun;
    } else {
      file.sealed = true;
      folder.unindexed.push_back(file.number);
    }
    if (const auto synced = disk.Sync(file.fd.get()); !synced.ok()) return synced;
  }
  const MarkFile::Values& old = folder.mark.values();
  const bool skipped = folder.live.empty();
  return folder.mark.Write({.floor_seq = skipped ? folder.tail_seq : old.floor_seq,
                            .synced_seq = folder.tail_seq,
                            .closed_seq = 0},
                           MarkFile::Durable::kYes);
}

// Files behind the records' end become spares under new numbers; what cannot be used goes.
Result<void> SettleSpares(JournalDisk& disk, OpenFolder& folder) {
  bool changed = false;
  std::vector<JournalFile> kept;
  for (JournalFile& file : folder.spares) {
    const auto size = disk.Size(file.fd.get());
    if (!size.ok()) return size.error();
    const bool room = folder.live.size() + kept.size() < folder.slots;
    changed = true;
    if (!room || size.value() != folder.meta.file_bytes) {
      if (const auto gone = disk.Remove(FileName(file.number)); !gone.ok()) return gone;
      continue;
    }
    if (folder.next_number == std::numeric_limits<uint32_t>::max()) {
      return Error{EOVERFLOW, "the journal has used up its file numbers; make a new journal"};
    }
    const auto renamed = RenumberFile(disk, file, folder.next_number++);
    if (!renamed.ok()) return renamed;
    kept.push_back(std::move(file));
  }
  folder.spares = std::move(kept);
  return changed ? disk.SyncDirectory() : Result<void>{};
}

// The first file is only reserved, not filled with zeros, so that nobody waits for it.
Result<void> MakeFirstSpare(JournalDisk& disk, OpenFolder& folder) {
  const bool appendable = !folder.live.empty() && !folder.live.back().sealed;
  if (appendable || !folder.spares.empty() || folder.live.size() >= folder.slots) return {};
  JournalFile file;
  const NewFile wanted{
      .number = folder.next_number++, .bytes = folder.meta.file_bytes, .fill = FileFill::kReserve};
  const auto made = MakeFile(disk, wanted, file);
  if (!made.ok()) return IsShortage(made.error().code) ? Result<void>{} : made;
  folder.spares.push_back(std::move(file));
  return {};
}

}  // namespace

Result<Meta> LoadMeta(JournalDisk& disk) {
  const auto fd = DiskFd::Open(disk, kMetaName, JournalDisk::OpenMode::kExisting);
  if (!fd.ok()) return fd.error();
  std::array<std::byte, sizeof(Meta)> bytes{};
  const auto got = ReadAt(disk, fd.value().get(), bytes, 0);
  if (!got.ok()) return got.error();
  const auto meta = Parse<Meta>(std::span(bytes).first(got.value()));
  if (!meta || !CheckSizes(meta->file_bytes, 2 * uint64_t{meta->file_bytes}).ok()) {
    return Error{EBADMSG, "the journal's meta file does not verify"};
  }
  return *meta;
}

Result<OpenFolder> OpenOrMakeFolder(JournalDisk& disk, const JournalConfig& config) {
  const auto meta = LoadMeta(disk);
  if (!meta.ok() && meta.error().code != ENOENT) return meta.error();
  const uint32_t file_bytes = meta.ok() ? meta.value().file_bytes : config.file_bytes;
  if (const auto sizes = CheckSizes(file_bytes, config.capacity_bytes); !sizes.ok()) {
    return sizes.error();
  }
  auto opened = meta.ok() ? LoadJournal(disk, meta.value(), config) : MakeJournal(disk, config);
  if (!opened.ok()) return opened;
  OpenFolder& folder = opened.value();
  SkipToStable(folder, config.stable_seq);
  folder.slots = std::max<size_t>(config.capacity_bytes / file_bytes, folder.live.size());
  if (const auto live = SettleLive(disk, folder, config.epoch); !live.ok()) return live.error();
  folder.synced_seq = folder.tail_seq;
  if (const auto spares = SettleSpares(disk, folder); !spares.ok()) return spares.error();
  if (const auto first = MakeFirstSpare(disk, folder); !first.ok()) return first.error();
  return opened;
}

}  // namespace weir::journal
