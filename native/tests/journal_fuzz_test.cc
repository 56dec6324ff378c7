// Goal: no content of the folder makes Open() crash, hang, or hand out records it cannot read.
// Method: folders of a real run, mutated at random: bytes, pages, names, lengths, and structures
//   whose fields are garbage but whose checksums are right. Runs under ASan and UBSan as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iostream>

#include "engine/journal/background.h"
#include "engine/journal/journal_format.h"
#include "tests/support/journal_model.h"

namespace weir::test {
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  void Mutate(Image& image) {
    for (uint64_t i = 0, count = 1 + random_() % 4; i < count; ++i) MutateOnce(image);
  }

 private:
  std::string AnyName(const Image& image) {
    auto at = image.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_() % image.size()));
    return at->first;
  }
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  void MutateOnce(Image& image) {
    if (image.empty()) return;
    const std::string name = AnyName(image);
    Bytes& file = image[name];
    switch (random_() % 9) {
      case 0:
        for (int i = 0; i < 8 && !file.empty(); ++i) file[Below(file.size())] ^= std::byte{0x04};
        break;
      case 1:
        file.resize(Below(file.size() + 5000));
        break;
      case 2:
        CopyPage(file, image[AnyName(image)]);
        break;
      case 3:
        image[journal::FileName(static_cast<uint32_t>(1 + random_() % 12))] = file;
        break;
      case 4:
        if (random_() % 4 == 0) image.erase(name);
        break;
      case 5:
        Reseal<journal::FileHeader>(file, 0);
        break;
      case 6:
        Reseal<journal::FooterHeader>(file, file.size() < 4096 ? 0 : file.size() - 4096);
        break;
      case 7:
        ResealRecord(file);
        break;
      default:
        if (name == "meta") Reseal<journal::Meta>(file, 0);
        if (name == "mark") Reseal<journal::Mark>(file, 4096 * (random_() % 2));
        break;
    }
  }

  void CopyPage(Bytes& to, const Bytes& from) {
    if (to.size() < 4096 || from.size() < 4096) return;
    const size_t target = Below(to.size() / 4096) * 4096;
    std::memmove(to.data() + target, from.data() + Below(from.size() / 4096) * 4096, 4096);
  }

  // Puts garbage into one 32-bit field and makes the checksum right again.
  template <typename T>
  void Reseal(Bytes& file, size_t at) {
    if (file.size() < at + sizeof(T)) return;
    T value;
    std::memcpy(&value, file.data() + at, sizeof(T));
    static constexpr uint32_t kNasty[] = {0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 4096, 65536};
    const uint32_t word =
        random_() % 2 == 0 ? kNasty[random_() % 8] : static_cast<uint32_t>(random_());
    std::memcpy(reinterpret_cast<std::byte*>(&value) + 4 * Below(sizeof(T) / 4), &word,
                sizeof(word));
    journal::SealStruct(value);
    std::memcpy(file.data() + at, &value, sizeof(T));
  }

  void ResealRecord(Bytes& file) {
    const size_t from = Below(file.size()) & ~size_t{7};
    for (size_t at = from; at + sizeof(journal::RecordHeader) <= file.size(); at += 8) {
      if (!journal::Parse<journal::RecordHeader>(std::span(file).subspan(at))) continue;
      Reseal<journal::RecordHeader>(file, at);
      return;
    }
  }

  std::mt19937_64 random_;
};

Image SomeImage(uint64_t seed) {
  SimStorage storage;
  JournalUnderTest under_test(storage, {}, seed);
  EXPECT_EQ(under_test.Open(), "");
  for (int step = 0; step < 120; ++step) EXPECT_TRUE(under_test.Step());
  if (seed % 2 == 0) under_test.Close();
  return storage.Now();
}

// Opens whatever it is, reads everything it claims to hold and appends to it.
bool Survives(const Image& image) {
  SimStorage storage(image);
  std::vector<JournalRecord> records;
  auto opened = Journal::OpenOn(storage.NewDisk(), journal::BackgroundMode::kManual, SimConfig(),
                                [&](const JournalRecord& record) { records.push_back(record); });
  if (!opened.ok()) return false;
  Journal& journal = *opened.value();
  Bytes block(kBlockBytes);
  for (const JournalRecord& record : records) {
    if (record.type != RecordType::kWrite) continue;
    (void)journal.Read(record.addr, record.start_block, 1, block.data());
  }
  for (int i = 0; i < 20; ++i) {
    if (!journal.CanStage(2)) {
      if (journal.oldest_file().sealed) (void)journal.RecycleOldest();
      journal.OnReady();
      continue;
    }
    const Bytes data(2 * kBlockBytes);
    (void)journal.StageWrite(1, 2, data.data());
    if (!journal.Commit().ok()) break;
  }
  return true;
}

TEST(JournalFuzz, OpenTakesAnything) {
  size_t opened = 0;
  size_t rounds = 0;
  for (uint64_t base = 1; base <= 8; ++base) {
    const Image image = SomeImage(base);
    for (uint64_t seed = 0; seed < 250; ++seed) {
      Image mutated = image;
      Mutator(base * 1000 + seed).Mutate(mutated);
      if (Survives(mutated)) ++opened;
      ++rounds;
    }
  }
  std::cout << opened << " of " << rounds << " mutated folders still opened\n";
  EXPECT_GT(opened, rounds / 20);
  EXPECT_LT(opened, rounds);
}

TEST(JournalFuzz, OpenTakesFilesOfGarbage) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 200; ++round) {
    Image image;
    for (const char* name : {"meta", "mark", "00000001.jnl", "ffffffff.jnl", "unfinished", "x"}) {
      if (random() % 4 == 0) continue;
      Bytes content(random() % 9000);
      for (std::byte& byte : content) byte = static_cast<std::byte>(random());
      image[name] = content;
    }
    (void)Survives(image);
  }
}

}  // namespace
}  // namespace weir::test
