// A JournalDisk in memory that records every operation, injects errors, and can rebuild what a real
// disk might hold after the power was cut between any two operations.
//
// The model is deliberately harsher than Linux: until a file is synced each of its pages may hold
// any of the versions written since (in torn mode each 512-byte sector may), and until the folder
// is synced any subset of the name changes may have happened.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "engine/journal/journal_disk.h"

namespace weir::test {

using Bytes = std::vector<std::byte>;
using Image = std::map<std::string, Bytes>;  // a folder: name to content

enum class SimOpKind : uint8_t { kWrite, kResize, kSync, kMake, kRename, kRemove, kSyncDirectory };

struct SimOp {
  SimOpKind kind = SimOpKind::kWrite;
  size_t inode = 0;
  uint64_t offset = 0;  // kResize: the size
  Bytes data;
  std::string name;
  std::string to;
};

// What the journals of one test run share; it outlives them. Any thread.
class SimStorage {
 public:
  explicit SimStorage(const Image& image = {});

  // Returns the errno with which the operation fails, 0 to let it happen. After a failed sync the
  // running system goes on seeing what was written, until the cache is dropped.
  std::function<int(const SimOp&)> fault;
  // A disk that lies: Sync() succeeds and does nothing. To show that the oracle notices.
  bool ignore_syncs = false;

  [[nodiscard]] std::unique_ptr<journal::JournalDisk> NewDisk();
  [[nodiscard]] const Image& initial() const { return initial_; }
  [[nodiscard]] const std::vector<SimOp>& ops() const { return ops_; }
  [[nodiscard]] size_t op_count() const;
  // The folder as the running system sees it.
  [[nodiscard]] Image Now() const;
  // Syncs by descriptor, as the journal's owner does.
  Result<void> Sync(int fd);

 private:
  friend class SimDisk;
  struct Handle {
    size_t inode = 0;
  };

  Result<void> Do(SimOp op);
  void Apply(const SimOp& op);

  mutable std::mutex mutex_;
  Image initial_;
  std::map<std::string, size_t> names_;
  std::vector<Bytes> inodes_;
  std::vector<Bytes> synced_;  // by inode
  std::vector<bool> lost_;     // by inode: a sync failed
  std::map<int, Handle> handles_;
  std::vector<SimOp> ops_;
  int next_fd_ = 1000;
};

enum class CutMode : uint8_t {
  kAll,      // everything written so far reached the disk
  kNothing,  // nothing that was not synced did
  kPages,    // each unsynced page holds any of its versions
  kTorn,     // each 512-byte sector of an unsynced page does
};
inline constexpr CutMode kCutModes[] = {CutMode::kAll, CutMode::kNothing, CutMode::kPages,
                                        CutMode::kTorn};

// Walks along the recorded operations and builds the folder a power cut would leave.
class PowerCut {
 public:
  explicit PowerCut(const SimStorage& storage);
  // Moves on to just before operation `op` of the recording. Only forward.
  void AdvanceTo(size_t op);
  [[nodiscard]] Image Cut(CutMode mode, std::mt19937_64& random) const;

 private:
  void Fold(const SimOp& op);
  [[nodiscard]] Bytes FileAfter(size_t inode, CutMode mode, std::mt19937_64& random) const;

  const SimStorage& storage_;
  size_t at_ = 0;
  std::map<std::string, size_t> names_;              // durable
  std::vector<Bytes> durable_;                       // by inode
  std::vector<std::vector<const SimOp*>> unsynced_;  // by inode
  std::vector<const SimOp*> unsynced_names_;
};

}  // namespace weir::test
