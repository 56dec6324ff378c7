#include "engine/journal/background.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "engine/base/signals_blocked.h"
#include "engine/journal/footer.h"
#include "engine/journal/prepare.h"

namespace weir::journal {
namespace {

constexpr std::chrono::seconds kRetryPause{1};
constexpr std::chrono::seconds kMarkPause{1};

}  // namespace

Background::Background(const Options& options, MarkFile mark, UniqueFd ready)
    : options_(options),
      mark_(std::move(mark)),
      ready_(std::move(ready)),
      next_number_(options.next_number),
      synced_seq_(mark_.values().synced_seq) {}

Background::~Background() { Stop(0); }

void Background::Start() {
  if (options_.mode == BackgroundMode::kManual) return;
  const SignalsBlocked blocked;
  thread_ = std::thread([this] {
    // By the thread itself: naming another one writes a file, while requests may wait.
    pthread_setname_np(pthread_self(), "weir-journal");
    Run();
  });
}

void Background::Stop(uint64_t closed_seq) {
  if (stopping_.exchange(true)) return;
  if (thread_.joinable()) {
    { const std::lock_guard lock(mutex_); }
    wake_.notify_one();
    thread_.join();
  }
  if (closed_seq == 0 || failed()) return;
  // Best effort: without it the next Open() only has to look more closely.
  const MarkFile::Values values{mark_.values().floor_seq, synced_seq_.load(), closed_seq};
  (void)mark_.Write(values, MarkFile::Durable::kNo);
}

void Background::Seal(JournalFile* file) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({.kind = Job::Kind::kSeal, .file = file, .last_seq = 0});
  }
  wake_.notify_one();
}

void Background::Recycle(JournalFile* file, uint64_t last_seq) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({.kind = Job::Kind::kRecycle, .file = file, .last_seq = last_seq});
  }
  wake_.notify_one();
}

void Background::Create(JournalFile* file) {
  {
    const std::lock_guard lock(mutex_);
    create_.push_back(file);
  }
  wake_.notify_one();
}

void Background::Pause() {
  hurry_ = true;  // A file being filled with zeros would take longer than the pause is worth.
  {
    const std::lock_guard lock(mutex_);
    paused_ = true;
    if (options_.mode == BackgroundMode::kManual) at_rest_ = true;
  }
  wake_.notify_one();
}

void Background::Resume() {
  {
    const std::lock_guard lock(mutex_);
    paused_ = false;
    at_rest_ = false;
  }
  wake_.notify_one();
}

void Background::NoteSynced(uint64_t seq) {
  synced_seq_.store(seq);
  if (mark_wanted_.exchange(true)) return;
  { const std::lock_guard lock(mutex_); }  // the thread either saw the flag or waits by now
  wake_.notify_one();
}

void Background::Take(std::vector<Done>& done) {
  if (options_.mode == BackgroundMode::kManual) {
    std::unique_lock lock(mutex_);
    (void)RunOne(lock);
  }
  uint64_t count = 0;
  if (::read(ready_.get(), &count, sizeof(count)) < 0)
    WEIR_CHECK(errno == EAGAIN || errno == EINTR);
  const std::lock_guard lock(mutex_);
  done.insert(done.end(), done_.begin(), done_.end());
  done_.clear();
  has_done_ = false;
}

void Background::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (!RunOne(lock)) {
      at_rest_ = paused_;
      WaitForWork(lock);
    }
  }
}

std::chrono::seconds Background::Pause(std::chrono::seconds pause) const {
  return options_.mode == BackgroundMode::kThread ? pause : std::chrono::seconds{0};
}

// Does one thing that is due; false if nothing is. `lock` is released while it works.
bool Background::RunOne(std::unique_lock<std::mutex>& lock) {
  if (failed() || paused_) return false;
  if (!jobs_.empty()) {
    const Job job = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    const bool seal = job.kind == Job::Kind::kSeal;
    const auto result = seal ? DoSeal(*job.file) : DoRecycle(*job.file, job.last_seq);
    lock.lock();
    Finish({seal ? Done::Kind::kSealed : Done::Kind::kReady, job.file}, result);
    return true;
  }
  const auto now = Clock::now();
  if (!create_.empty() && now >= create_at_) return RunCreate(lock);
  if (!mark_wanted_) return false;
  if (mark_at_ == Clock::time_point{}) mark_at_ = now + Pause(kMarkPause);
  if (now < mark_at_) return false;
  mark_at_ = {};
  mark_wanted_ = false;
  lock.unlock();
  const auto result = WriteMark(MarkFile::Durable::kNo, mark_.values().floor_seq);
  lock.lock();
  if (!result.ok()) Finish({}, result);
  return true;
}

// False when there was no room for the file: later.
bool Background::RunCreate(std::unique_lock<std::mutex>& lock) {
  JournalFile* const file = create_.front();
  create_.pop_front();
  lock.unlock();
  const auto result = DoCreate(*file);
  lock.lock();
  if (result.ok()) {
    prepare_error_ = 0;
  } else if (result.error().code == ECANCELED || IsShortage(result.error().code)) {
    prepare_error_ = result.error().code;
    create_.push_front(file);
    create_at_ = Clock::now() + Pause(kRetryPause);
    return false;
  }
  Finish({Done::Kind::kReady, file}, result);
  return true;
}

void Background::WaitForWork(std::unique_lock<std::mutex>& lock) {
  auto until = Clock::time_point::max();
  if (!failed() && !paused_) {
    if (!create_.empty()) until = std::min(until, create_at_);
    if (mark_wanted_) until = std::min(until, mark_at_);
  }
  if (until == Clock::time_point::max()) {
    wake_.wait(lock);
  } else {
    wake_.wait_until(lock, until);
  }
}

// Works on a descriptor of its own: an error of the disk is reported once per descriptor, and the
// owner's sync must not miss it because this one saw it first.
Result<void> Background::DoSeal(const JournalFile& file) {
  auto fd = DiskFd::Open(options_.disk, FileName(file.number), JournalDisk::OpenMode::kExisting);
  if (!fd.ok()) return fd.error();
  const int own = fd.value().get();
  if (const auto synced = options_.disk.Sync(own); !synced.ok()) return synced;
  const std::vector<std::byte> footer = EncodeFooter(options_.journal_id, file);
  // Only a file from elsewhere can lack the room; it is replayed record by record then.
  if (PageUp(file.end) + footer.size() > options_.file_bytes) return {};
  const auto put = WriteAt(options_.disk, own, footer, options_.file_bytes - footer.size());
  return put.ok() ? options_.disk.Sync(own) : put;
}

// The floor is durable before the name goes: a file that is missing without it would be damage.
Result<void> Background::DoRecycle(JournalFile& file, uint64_t last_seq) {
  const uint64_t floor_seq = std::max(last_seq, mark_.values().floor_seq);
  if (const auto put = WriteMark(MarkFile::Durable::kYes, floor_seq); !put.ok()) return put;
  const auto number = NextNumber();
  if (!number.ok()) return number.error();
  const auto named = RenumberFile(options_.disk, file, number.value());
  return named.ok() ? options_.disk.SyncDirectory() : named;
}

Result<void> Background::DoCreate(JournalFile& file) {
  const auto number = NextNumber();
  if (!number.ok()) return number.error();
  const auto made = MakeFile(options_.disk,
                             {.number = number.value(),
                              .bytes = options_.file_bytes,
                              .fill = FileFill::kZeros,
                              .stop = &stopping_,
                              .hurry = &hurry_},
                             file);
  hurry_ = false;
  return made;
}

Result<void> Background::WriteMark(MarkFile::Durable durable, uint64_t floor_seq) {
  return mark_.Write({floor_seq, synced_seq_.load(), 0}, durable);
}

Result<uint32_t> Background::NextNumber() {
  if (next_number_ == std::numeric_limits<uint32_t>::max()) {
    return Error{EOVERFLOW, "the journal has used up its file numbers; make a new journal"};
  }
  return next_number_++;
}

// REQUIRES mutex_.
void Background::Finish(const Done& done, const Result<void>& result) {
  if (result.ok()) {
    done_.push_back(done);
    has_done_ = true;
  } else {
    failed_ = true;
  }
  Signal();
}

void Background::Signal() {
  const uint64_t one = 1;
  // It only fails when the counter is at its limit, and then the descriptor is readable anyway.
  (void)!::write(ready_.get(), &one, sizeof(one));
}

}  // namespace weir::journal
