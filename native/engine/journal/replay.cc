#include "engine/journal/replay.h"

#include <algorithm>
#include <cerrno>

#include "engine/journal/footer.h"
#include "engine/journal/scan.h"

namespace weir::journal {
namespace {

struct Found {
  JournalFile file;
  bool begun = false;  // its header verifies, so file.first_seq is known
};

Result<Found> OpenOne(const ReplaySource& source, uint32_t number) {
  auto fd = DiskFd::Open(source.disk, FileName(number), JournalDisk::OpenMode::kExisting);
  if (!fd.ok()) return fd.error();
  Found found;
  found.file.number = number;
  found.file.fd = std::move(fd.value());
  FileWindow window(source.disk, found.file.fd.get());
  const auto head = window.At(0, sizeof(FileHeader));
  if (!head.ok()) return head.error();
  const auto header = Parse<FileHeader>(head.value());
  found.begun = header && header->number == number && header->journal_id == source.journal_id;
  if (found.begun) found.file.first_seq = header->first_seq;
  return found;
}

Result<std::vector<Found>> OpenAll(const ReplaySource& source) {
  const auto names = source.disk.List();
  if (!names.ok()) return names.error();
  std::vector<uint32_t> numbers;
  for (const std::string& name : names.value()) {
    if (const auto number = ParseFileName(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<Found> all;
  for (const uint32_t number : numbers) {
    auto found = OpenOne(source, number);
    if (!found.ok()) return found.error();
    all.push_back(std::move(found.value()));
  }
  return all;
}

// A writer that did not close may have ended with a failed sync, after which the kernel keeps pages
// in memory, as clean, that never reached the disk.
Result<void> ScanFromDisk(const ReplaySource& source, JournalFile& file) {
  if (source.mark.closed_seq == 0 && !source.live) {
    const auto synced = source.disk.Sync(file.fd.get());
    if (!synced.ok()) return synced;
    source.disk.DropCache(file.fd.get());
  }
  FileWindow window(source.disk, file.fd.get());
  return ScanRecords(window, source.journal_id, source.file_bytes, file);
}

Result<void> LoadRecords(const ReplaySource& source, JournalFile& file) {
  FileWindow window(source.disk, file.fd.get());
  auto footer = LoadFooter(window, source.journal_id, file.number, source.file_bytes);
  if (!footer.ok()) return footer.error();
  if (!footer.value() || footer.value()->first_seq != file.first_seq) {
    return ScanFromDisk(source, file);
  }
  file.entries = std::move(footer.value()->entries);
  file.laps = std::move(footer.value()->laps);
  file.end = footer.value()->end;
  file.sealed = true;
  return {};
}

// What file `found` proves by what lies at or behind `from`.
Result<Proof> ProofIn(const ReplaySource& source, const Found& found, uint32_t from) {
  FileWindow window(source.disk, found.file.fd.get());
  const uint32_t number = found.file.number;
  if (from == kFileHeaderBytes && !found.begun) {
    // A spare is not worth reading: a file that was begun has its header or its first record.
    const auto first = FirstRecordVerifies(window, source.journal_id, number);
    if (!first.ok()) return first.error();
    if (!first.value()) return Proof{};
  }
  const auto footer = LoadFooter(window, source.journal_id, number, source.file_bytes);
  if (!footer.ok()) return footer.error();
  auto proof = SearchProof(window, source.journal_id, number, from, source.file_bytes);
  if (proof.ok() && footer.value() && !footer.value()->entries.empty()) {
    const uint64_t last_seq = footer.value()->first_seq + footer.value()->entries.size() - 1;
    proof.value().Add({.synced_seq = last_seq, .seen_seq = last_seq});
  }
  return proof;
}

// Where the chain begins: the newest file that may hold the first record above the floor. What lies
// before it holds only stable records and was about to be recycled.
size_t ChainBegin(const std::vector<Found>& all, uint64_t floor_seq) {
  size_t begin = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].begun && all[i].file.first_seq <= floor_seq + 1) begin = i;
  }
  return begin;
}

struct Chain {
  size_t begin = 0;
  size_t end = 0;  // first file that is not part of it
  uint64_t tail_seq = 0;
};

Result<Chain> FollowChain(const ReplaySource& source, std::vector<Found>& all) {
  Chain chain{.begin = ChainBegin(all, source.mark.floor_seq), .tail_seq = source.mark.floor_seq};
  chain.end = chain.begin;
  for (size_t i = chain.begin; i < all.size() && all[i].begun; ++i) {
    JournalFile& file = all[i].file;
    const uint64_t expected = chain.tail_seq + 1;
    const bool holds_floor = i == chain.begin && file.first_seq < expected;
    if (file.first_seq != expected && !holds_floor) break;
    if (file.first_seq == 0) break;
    if (const auto loaded = LoadRecords(source, file); !loaded.ok()) return loaded.error();
    if (file.entries.empty() || file.last_seq() < expected) break;
    chain.tail_seq = file.last_seq();
    chain.end = i + 1;
  }
  return chain;
}

Result<Proof> ProofBehind(const ReplaySource& source, const std::vector<Found>& all,
                          const Chain& chain) {
  if (source.live) return Proof{};  // The writer's own journal is whole; it may be ahead of us.
  Proof proof{.synced_seq = source.mark.synced_seq, .seen_seq = source.mark.synced_seq};
  const bool closed = source.mark.closed_seq != 0;
  if (closed && source.mark.closed_seq == chain.tail_seq) return proof;  // nothing lies behind
  for (size_t i = chain.begin; i < all.size(); ++i) {
    const bool last_of_chain = i + 1 == chain.end;
    if (i + 1 < chain.end || (last_of_chain && all[i].file.sealed)) continue;
    const auto found = ProofIn(source, all[i], last_of_chain ? all[i].file.end : kFileHeaderBytes);
    if (!found.ok()) return found.error();
    proof.Add(found.value());
  }
  return proof;
}

}  // namespace

Result<Replayed> ReplayFiles(const ReplaySource& source) {
  auto opened = OpenAll(source);
  if (!opened.ok()) return opened.error();
  std::vector<Found>& all = opened.value();
  const auto followed = FollowChain(source, all);
  if (!followed.ok()) return followed.error();
  const Chain& chain = followed.value();
  const auto proof = ProofBehind(source, all, chain);
  if (!proof.ok()) return proof.error();
  const bool damaged = proof.value().synced_seq > chain.tail_seq;
  if (damaged && proof.value().seen_seq > source.stable_seq) {
    return Error{EBADMSG, "the journal is damaged in front of records that were durable"};
  }
  Replayed result;
  result.tail_seq = chain.tail_seq;
  if (!all.empty()) result.highest_number = all.back().file.number;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool survives = i >= chain.begin && i < chain.end;
    (survives ? result.files : result.leftovers).push_back(std::move(all[i].file));
  }
  return result;
}

}  // namespace weir::journal
