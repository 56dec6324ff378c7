#include "tests/support/journal_sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/check.h"

namespace weir::test {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSector = 512;

void Put(Bytes& file, uint64_t offset, std::span<const std::byte> data) {
  if (file.size() < offset + data.size()) file.resize(offset + data.size());
  std::copy(data.begin(), data.end(), file.begin() + static_cast<std::ptrdiff_t>(offset));
}

void PutData(Bytes& file, const SimOp& op) {
  if (op.kind == SimOpKind::kResize) {
    file.resize(std::max<size_t>(file.size(), op.offset));
  } else {
    Put(file, op.offset, op.data);
  }
}

void PutName(std::map<std::string, size_t>& names, const SimOp& op) {
  if (op.kind == SimOpKind::kMake) {
    names[op.name] = op.inode;
  } else if (op.kind == SimOpKind::kRemove) {
    names.erase(op.name);
  } else if (const auto from = names.find(op.name); from != names.end()) {
    const size_t inode = from->second;
    names.erase(from);
    names[op.to] = inode;
  }
}

}  // namespace

class SimDisk final : public journal::JournalDisk {
 public:
  explicit SimDisk(SimStorage& storage) : storage_(storage) {}

  Result<void> Lock() override { return {}; }
  Result<std::vector<std::string>> List() override {
    const std::lock_guard lock(storage_.mutex_);
    std::vector<std::string> names{".", "..", "lock"};
    for (const auto& [name, inode] : storage_.names_) names.push_back(name);
    return names;
  }
  Result<int> Open(const std::string& name, OpenMode mode) override {
    if (mode == OpenMode::kMakeEmpty) {
      SimOp op{
          .kind = SimOpKind::kMake, .inode = 0, .offset = 0, .data = {}, .name = name, .to = {}};
      if (const auto made = storage_.Do(std::move(op)); !made.ok()) return made.error();
    }
    const std::lock_guard lock(storage_.mutex_);
    const auto found = storage_.names_.find(name);
    if (found == storage_.names_.end()) return Error{ENOENT, "no such file"};
    storage_.handles_[storage_.next_fd_] = {found->second};
    return storage_.next_fd_++;
  }
  void Close(int fd) override {
    const std::lock_guard lock(storage_.mutex_);
    WEIR_CHECK(storage_.handles_.erase(fd) == 1);
  }
  Result<uint64_t> Size(int fd) override {
    const std::lock_guard lock(storage_.mutex_);
    return uint64_t{storage_.inodes_[Inode(fd)].size()};
  }
  Result<uint64_t> Read(int fd, std::span<iovec> parts, uint64_t offset) override {
    const std::lock_guard lock(storage_.mutex_);
    const Bytes& file = storage_.inodes_[Inode(fd)];
    uint64_t total = 0;
    for (const iovec& part : parts) {
      if (offset >= file.size()) break;
      const size_t take = std::min<size_t>(part.iov_len, file.size() - offset);
      std::memcpy(part.iov_base, file.data() + offset, take);
      total += take;
      offset += take;
    }
    return total;
  }
  Result<void> Write(int fd, std::span<iovec> parts, uint64_t offset) override {
    SimOp op = FileOp(SimOpKind::kWrite, fd, offset);
    for (const iovec& part : parts) {
      const auto* from = static_cast<const std::byte*>(part.iov_base);
      op.data.insert(op.data.end(), from, from + part.iov_len);
    }
    return storage_.Do(std::move(op));
  }
  Result<void> Sync(int fd) override { return storage_.Sync(fd); }
  void DropCache(int fd) override {
    const std::lock_guard lock(storage_.mutex_);
    const size_t inode = Inode(fd);
    if (storage_.lost_[inode]) storage_.inodes_[inode] = storage_.synced_[inode];
    storage_.lost_[inode] = false;
  }
  Result<void> Preallocate(int fd, uint64_t bytes) override {
    return storage_.Do(FileOp(SimOpKind::kResize, fd, bytes));
  }
  Result<void> Rename(const std::string& from, const std::string& to) override {
    return storage_.Do(
        {.kind = SimOpKind::kRename, .inode = 0, .offset = 0, .data = {}, .name = from, .to = to});
  }
  Result<void> Remove(const std::string& name) override {
    return storage_.Do(
        {.kind = SimOpKind::kRemove, .inode = 0, .offset = 0, .data = {}, .name = name, .to = {}});
  }
  Result<void> SyncDirectory() override {
    return storage_.Do({.kind = SimOpKind::kSyncDirectory,
                        .inode = 0,
                        .offset = 0,
                        .data = {},
                        .name = {},
                        .to = {}});
  }

 private:
  // REQUIRES the storage's mutex.
  size_t Inode(int fd) {
    const auto found = storage_.handles_.find(fd);
    WEIR_CHECK(found != storage_.handles_.end());
    return found->second.inode;
  }
  SimOp FileOp(SimOpKind kind, int fd, uint64_t offset) {
    const std::lock_guard lock(storage_.mutex_);
    return {.kind = kind, .inode = Inode(fd), .offset = offset, .data = {}, .name = {}, .to = {}};
  }

  SimStorage& storage_;
};

SimStorage::SimStorage(const Image& image) : initial_(image) {
  for (const auto& [name, content] : image) {
    names_[name] = inodes_.size();
    inodes_.push_back(content);
    synced_.push_back(content);
    lost_.push_back(false);
  }
}

std::unique_ptr<journal::JournalDisk> SimStorage::NewDisk() {
  return std::make_unique<SimDisk>(*this);
}

size_t SimStorage::op_count() const {
  const std::lock_guard lock(mutex_);
  return ops_.size();
}

Image SimStorage::Now() const {
  const std::lock_guard lock(mutex_);
  Image image;
  for (const auto& [name, inode] : names_) image[name] = inodes_[inode];
  return image;
}

Result<void> SimStorage::Sync(int fd) {
  SimOp op{.kind = SimOpKind::kSync, .inode = 0, .offset = 0, .data = {}, .name = {}, .to = {}};
  {
    const std::lock_guard lock(mutex_);
    const auto found = handles_.find(fd);
    WEIR_CHECK(found != handles_.end());
    op.inode = found->second.inode;
    if (ignore_syncs) return {};
  }
  return Do(std::move(op));
}

Result<void> SimStorage::Do(SimOp op) {
  const std::lock_guard lock(mutex_);
  if (fault) {
    if (const int code = fault(op); code != 0) {
      if (op.kind == SimOpKind::kSync) lost_[op.inode] = true;
      return Error{code, "injected fault"};
    }
  }
  if (op.kind == SimOpKind::kMake) {
    op.inode = inodes_.size();
    inodes_.emplace_back();
    synced_.emplace_back();
    lost_.push_back(false);
  }
  if ((op.kind == SimOpKind::kRename || op.kind == SimOpKind::kRemove) &&
      !names_.contains(op.name)) {
    return Error{ENOENT, "no such file"};
  }
  Apply(op);
  ops_.push_back(std::move(op));
  return {};
}

void SimStorage::Apply(const SimOp& op) {
  switch (op.kind) {
    case SimOpKind::kWrite:
    case SimOpKind::kResize:
      PutData(inodes_[op.inode], op);
      break;
    case SimOpKind::kMake:
    case SimOpKind::kRename:
    case SimOpKind::kRemove:
      PutName(names_, op);
      break;
    case SimOpKind::kSync:
      // What an earlier failure lost stays lost: the kernel took those pages for written.
      if (!lost_[op.inode]) synced_[op.inode] = inodes_[op.inode];
      break;
    case SimOpKind::kSyncDirectory:
      break;
  }
}

PowerCut::PowerCut(const SimStorage& storage) : storage_(storage) {
  for (const auto& [name, content] : storage.initial()) {
    names_[name] = durable_.size();
    durable_.push_back(content);
    unsynced_.emplace_back();
  }
}

void PowerCut::AdvanceTo(size_t op) {
  WEIR_CHECK(op >= at_ && op <= storage_.ops().size());
  for (; at_ < op; ++at_) Fold(storage_.ops()[at_]);
}

void PowerCut::Fold(const SimOp& op) {
  switch (op.kind) {
    case SimOpKind::kWrite:
    case SimOpKind::kResize:
      unsynced_[op.inode].push_back(&op);
      break;
    case SimOpKind::kSync:
      for (const SimOp* write : unsynced_[op.inode]) PutData(durable_[op.inode], *write);
      unsynced_[op.inode].clear();
      break;
    case SimOpKind::kMake:
      WEIR_CHECK(op.inode == durable_.size());
      durable_.emplace_back();
      unsynced_.emplace_back();
      unsynced_names_.push_back(&op);
      break;
    case SimOpKind::kRename:
    case SimOpKind::kRemove:
      unsynced_names_.push_back(&op);
      break;
    case SimOpKind::kSyncDirectory:
      for (const SimOp* change : unsynced_names_) PutName(names_, *change);
      unsynced_names_.clear();
      break;
  }
}

Image PowerCut::Cut(CutMode mode, std::mt19937_64& random) const {
  std::map<std::string, size_t> names = names_;
  for (const SimOp* change : unsynced_names_) {
    const bool happened = mode == CutMode::kAll || (mode != CutMode::kNothing && random() % 2 == 0);
    if (happened) PutName(names, *change);
  }
  Image image;
  for (const auto& [name, inode] : names) image[name] = FileAfter(inode, mode, random);
  return image;
}

Bytes PowerCut::FileAfter(size_t inode, CutMode mode, std::mt19937_64& random) const {
  Bytes file = durable_[inode];
  const auto& writes = unsynced_[inode];
  if (mode == CutMode::kNothing) return file;
  if (mode == CutMode::kAll) {
    for (const SimOp* write : writes) PutData(file, *write);
    return file;
  }
  const size_t unit = mode == CutMode::kTorn ? kSector : kPage;
  std::map<uint64_t, size_t> versions;  // unit: how many of the writes that touch it arrived
  std::map<uint64_t, size_t> touched;
  for (const SimOp* write : writes) {
    const size_t bytes = write->data.size();
    for (uint64_t at = write->offset / unit; at * unit < write->offset + bytes; ++at) ++touched[at];
  }
  for (const auto& [at, count] : touched) versions[at] = random() % (count + 1);
  for (const SimOp* write : writes) {
    if (write->kind == SimOpKind::kResize) {
      if (random() % 2 == 0) PutData(file, *write);
      continue;
    }
    const uint64_t end = write->offset + write->data.size();
    for (uint64_t at = write->offset / unit; at * unit < end; ++at) {
      if (versions[at] == 0) continue;
      --versions[at];
      const uint64_t from = std::max(write->offset, at * unit);
      const uint64_t to = std::min(end, (at + 1) * unit);
      Put(file, from, std::span(write->data).subspan(from - write->offset, to - from));
    }
  }
  return file;
}

}  // namespace weir::test
