#include "engine/journal/footer.h"

#include <cstring>

#include "engine/base/crc32c.h"

namespace weir::journal {
namespace {

bool EntryPlausible(const IndexEntry& entry, uint32_t at_least, uint32_t at_most) {
  const RecordType type = entry.type();
  if (type < RecordType::kWrite || type > RecordType::kResize) return false;
  const bool data = type == RecordType::kWrite;
  if (data && (entry.block_count == 0 || entry.block_count > kJournalRecordBlocksMax)) return false;
  const uint64_t end =
      static_cast<uint64_t>(entry.offset()) + RecordBytes(data ? entry.block_count : 0);
  return entry.offset() >= at_least && end <= at_most;
}

// Entries and laps must describe records that lie in order between file header and footer.
bool TablePlausible(const Footer& footer, uint64_t table_begin) {
  if (footer.end > table_begin || footer.laps.empty()) return false;
  uint32_t offset = kFileHeaderBytes;
  for (const IndexEntry& entry : footer.entries) {
    if (!EntryPlausible(entry, offset, footer.end)) return false;
    offset =
        entry.offset() + RecordBytes(entry.type() == RecordType::kWrite ? entry.block_count : 0);
  }
  return true;
}

}  // namespace

std::vector<std::byte> EncodeFooter(const Uid& journal_id, const JournalFile& file) {
  const size_t entry_bytes = file.entries.size() * sizeof(IndexEntry);
  const size_t table_bytes = entry_bytes + file.laps.size() * sizeof(LapEntry);
  std::vector<std::byte> pages(FooterBytes(file.entries.size(), file.laps.size()));
  std::byte* const header_at = pages.data() + pages.size() - kPageBytes;
  std::byte* const table = header_at - table_bytes;
  if (entry_bytes > 0) std::memcpy(table, file.entries.data(), entry_bytes);
  for (size_t i = 0; i < file.laps.size(); ++i) {
    const LapEntry lap{file.laps[i].offset, file.laps[i].lap};
    std::memcpy(table + entry_bytes + i * sizeof(LapEntry), &lap, sizeof(lap));
  }
  FooterHeader header;
  header.number = file.number;
  header.first_seq = file.first_seq;
  header.entry_count = static_cast<uint32_t>(file.entries.size());
  header.lap_count = static_cast<uint32_t>(file.laps.size());
  header.end_offset = file.end;
  header.table_crc = Crc32c({table, table_bytes});
  header.journal_id = journal_id;
  SealStruct(header);
  std::memcpy(header_at, &header, sizeof(header));
  return pages;
}

Result<std::optional<Footer>> LoadFooter(FileWindow& window, const Uid& journal_id, uint32_t number,
                                         uint32_t file_bytes) {
  const uint64_t header_at = file_bytes - kPageBytes;
  const auto page = window.At(header_at, sizeof(FooterHeader));
  if (!page.ok()) return page.error();
  const auto header = Parse<FooterHeader>(page.value());
  if (!header || header->number != number || header->journal_id != journal_id) {
    return std::optional<Footer>();
  }
  const uint64_t entry_bytes = header->entry_count * uint64_t{sizeof(IndexEntry)};
  const uint64_t table_bytes = entry_bytes + header->lap_count * uint64_t{sizeof(LapEntry)};
  if (table_bytes > header_at - kFileHeaderBytes) return std::optional<Footer>();
  const auto table = window.At(header_at - table_bytes, table_bytes);
  if (!table.ok()) return table.error();
  if (Crc32c(table.value()) != header->table_crc) return std::optional<Footer>();

  Footer footer{
      .first_seq = header->first_seq, .end = header->end_offset, .entries = {}, .laps = {}};
  footer.entries.resize(header->entry_count);
  if (entry_bytes > 0) std::memcpy(footer.entries.data(), table.value().data(), entry_bytes);
  for (uint32_t i = 0; i < header->lap_count; ++i) {
    LapEntry lap;
    std::memcpy(&lap, table.value().data() + entry_bytes + i * sizeof(lap), sizeof(lap));
    footer.laps.push_back({lap.offset, lap.lap, LapSeed(journal_id, number, lap.lap)});
  }
  if (!TablePlausible(footer, header_at - table_bytes)) return std::optional<Footer>();
  return std::optional<Footer>(std::move(footer));
}

}  // namespace weir::journal
