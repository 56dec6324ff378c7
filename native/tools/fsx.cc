// Random operations on one file, compared with a model of it in memory after every read:
//   fsx --file F [--size BYTES] [--ops N] [--seed X]
// Writes, reads, truncates, zeroes, punches holes, syncs and drops the page cache of the file. Exit
// 0: the file was always what the model says.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

struct Options {
  std::string file;
  size_t size = 4U << 20;
  int ops = 1000;
  uint32_t seed = 1;
};

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--file") options.file = argv[i + 1];
    if (name == "--size") options.size = std::strtoull(argv[i + 1], nullptr, 10);
    if (name == "--ops") options.ops = static_cast<int>(std::strtol(argv[i + 1], nullptr, 10));
    if (name == "--seed")
      options.seed = static_cast<uint32_t>(std::strtoul(argv[i + 1], nullptr, 10));
  }
  if (options.file.empty()) {
    std::fprintf(stderr, "usage: fsx --file F [--size BYTES] [--ops N] [--seed X]\n");
    std::exit(2);
  }
  return options;
}

class Fsx {
 public:
  explicit Fsx(const Options& options) : options_(options), random_(options.seed) {
    fd_ = ::open(options.file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0) Die("fsx: open");
  }
  ~Fsx() { ::close(fd_); }
  Fsx(const Fsx&) = delete;
  Fsx& operator=(const Fsx&) = delete;

  void Run() {
    for (op_ = 1; op_ <= options_.ops; ++op_) Step();
    Compare(0, model_.size());
    if (::fsync(fd_) != 0) Die("fsx: fsync");
  }

 private:
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  void Step() {
    const size_t at = Below(options_.size - 1);
    const size_t length = 1 + Below(std::min<size_t>(65536, options_.size - at - 1) + 1);
    switch (Below(10)) {
      case 0:
        Truncate(at);
        break;
      case 1:
        Zero(at, length, FALLOC_FL_ZERO_RANGE);
        break;
      case 2:
        Zero(at, length, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        break;
      case 3:
        if (::fdatasync(fd_) != 0) Die("fsx: fdatasync");
        if (::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED) != 0) Die("fsx: fadvise");
        break;
      case 4:
      case 5:
      case 6:
        if (at < model_.size()) Compare(at, std::min(length, model_.size() - at));
        break;
      default:
        Write(at, length);
    }
  }

  void Write(size_t at, size_t length) {
    if (model_.size() < at + length) model_.resize(at + length);
    for (size_t i = at; i < at + length; ++i) model_[i] = static_cast<char>(random_());
    if (::pwrite(fd_, &model_[at], length, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(length)) {
      Die("fsx: write");
    }
  }

  void Truncate(size_t size) {
    if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) Die("fsx: truncate");
    model_.resize(size);
  }

  void Zero(size_t at, size_t length, int mode) {
    if (::fallocate(fd_, mode, static_cast<off_t>(at), static_cast<off_t>(length)) != 0) {
      Die("fsx: fallocate");
    }
    const bool grows = (mode & FALLOC_FL_KEEP_SIZE) == 0;
    if (grows && model_.size() < at + length) model_.resize(at + length);
    const size_t end = std::min(at + length, model_.size());
    if (at < end) std::memset(&model_[at], 0, end - at);
  }

  void Compare(size_t at, size_t length) {
    std::vector<char> found(length);
    if (::pread(fd_, found.data(), length, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(length)) {
      Die("fsx: read");
    }
    for (size_t i = 0; i < length; ++i) {
      if (found[i] == model_[at + i]) continue;
      std::fprintf(stderr, "fsx: operation %d, seed %u: byte %zu is %d, expected %d\n", op_,
                   options_.seed, at + i, found[i], model_[at + i]);
      std::exit(1);
    }
  }

  const Options options_;
  std::mt19937 random_;
  std::vector<char> model_;
  int fd_ = -1;
  int op_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Fsx(Parse(argc, argv)).Run();
  return 0;
}
