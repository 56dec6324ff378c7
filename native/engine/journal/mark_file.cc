#include "engine/journal/mark_file.h"

#include <array>
#include <cerrno>
#include <cstring>

namespace weir::journal {
namespace {

constexpr const char* kName = "mark";

}  // namespace

Result<MarkFile> MarkFile::Make(JournalDisk& disk, const Uid& journal_id, const Values& values) {
  auto fd = DiskFd::Open(disk, kName, JournalDisk::OpenMode::kMakeEmpty);
  if (!fd.ok()) return fd.error();
  MarkFile mark(disk, journal_id, std::move(fd.value()));
  for (const Durable durable : {Durable::kNo, Durable::kYes}) {
    if (const auto written = mark.Write(values, durable); !written.ok()) return written.error();
  }
  return mark;
}

Result<MarkFile> MarkFile::Load(JournalDisk& disk, const Uid& journal_id) {
  auto fd = DiskFd::Open(disk, kName, JournalDisk::OpenMode::kExisting);
  if (!fd.ok()) {
    if (fd.error().code != ENOENT) return fd.error();
    return Error{EBADMSG, "the journal's mark file is missing"};
  }
  MarkFile mark(disk, journal_id, std::move(fd.value()));
  std::array<std::byte, 2 * kPageBytes> slots{};
  const auto got = ReadAt(disk, mark.fd_.get(), slots, 0);
  if (!got.ok()) return got.error();
  bool found = false;
  for (const uint32_t offset : {0U, kPageBytes}) {
    const auto slot = Parse<Mark>(std::span(slots).subspan(offset, sizeof(Mark)));
    if (!slot || slot->journal_id != journal_id || slot->revision < mark.revision_) continue;
    mark.revision_ = slot->revision;
    mark.values_ = {slot->floor_seq, slot->synced_seq, slot->closed_seq};
    found = true;
  }
  if (!found) return Error{EBADMSG, "the journal's mark file does not verify"};
  return mark;
}

Result<void> MarkFile::Write(const Values& values, Durable durable) {
  Mark mark;
  mark.revision = revision_ + 1;
  mark.journal_id = journal_id_;
  mark.floor_seq = values.floor_seq;
  mark.synced_seq = values.synced_seq;
  mark.closed_seq = values.closed_seq;
  SealStruct(mark);
  std::array<std::byte, kPageBytes> page{};
  std::memcpy(page.data(), &mark, sizeof(mark));
  const uint64_t offset = (mark.revision % 2) * kPageBytes;
  if (const auto put = WriteAt(*disk_, fd_.get(), page, offset); !put.ok()) return put;
  revision_ = mark.revision;
  values_ = values;
  return durable == Durable::kYes ? disk_->Sync(fd_.get()) : Result<void>{};
}

}  // namespace weir::journal
