// Read(): blocks by address, verified against the place and the block number that are believed.
#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/journal/journal_state.h"

namespace weir {
namespace {

using journal::BlockPrefix;
using journal::JournalFile;

constexpr uint32_t kBatchBlocks = 64;

// One part of a read: so many blocks that lie one after the other, prefix and data.
struct Piece {
  uint32_t offset = 0;
  uint64_t start_block = 0;
  uint32_t count = 0;
  std::byte* out = nullptr;
};

// One round trip to the disk; room for `kBlocks`, as most reads are of a single block.
template <uint32_t kBlocks>
Result<void> ReadPiece(journal::JournalDisk& disk, const JournalFile& file, const Piece& piece) {
  std::array<BlockPrefix, kBlocks> prefixes;
  std::array<iovec, size_t{2} * kBlocks> parts;
  for (uint32_t i = 0; i < piece.count; ++i) {
    parts[size_t{2} * i] = {&prefixes[i], sizeof(BlockPrefix)};
    parts[size_t{2} * i + 1] = {piece.out + size_t{i} * kBlockBytes, kBlockBytes};
  }
  const auto got =
      disk.Read(file.fd.get(), std::span(parts).first(size_t{2} * piece.count), piece.offset);
  if (!got.ok()) return got.error();
  if (got.value() != uint64_t{piece.count} * kJournalBlockStride) {
    return Error{EBADMSG, "the journal file became shorter"};
  }
  const uint32_t seed = file.SeedAt(piece.offset);
  for (uint32_t i = 0; i < piece.count; ++i) {
    if (!journal::BlockVerifies(prefixes[i], seed, piece.start_block + i,
                                piece.out + size_t{i} * kBlockBytes)) {
      return Error{EBADMSG, "a block in the journal does not verify"};
    }
  }
  return {};
}

}  // namespace

Result<void> Journal::Read(JournalAddr addr, uint64_t start_block, uint32_t count,
                           std::byte* out) const {
  const JournalFile* file = state_->files.Find(addr.file());
  const uint64_t end = addr.offset() + uint64_t{count} * kJournalBlockStride;
  if (addr.file() == 0 || file == nullptr || end > state_->files.file_bytes()) {
    return Error{EBADMSG, "the journal holds nothing at a block's address"};
  }
  for (uint32_t done = 0; done < count;) {
    const uint32_t take = std::min(count - done, kBatchBlocks);
    const Piece piece{.offset = addr.offset() + done * kJournalBlockStride,
                      .start_block = start_block + done,
                      .count = take,
                      .out = out + size_t{done} * kBlockBytes};
    const auto read = take == 1 ? ReadPiece<1>(*state_->disk, *file, piece)
                                : ReadPiece<kBatchBlocks>(*state_->disk, *file, piece);
    if (!read.ok()) return read;
    done += take;
  }
  return {};
}

}  // namespace weir
