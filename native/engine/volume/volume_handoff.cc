// What a volume does for a handoff: reading along with another process's journal and becoming its
// owner, and on the other side coming to rest without an answer that could be wrong.
#include <cerrno>
#include <utility>

#include "engine/volume/volume.h"

namespace weir {
namespace {

// Between two looks at a recycling that is under way; nobody waits for it but a handoff.
constexpr uint64_t kSettleLookNs = 1'000'000;

}  // namespace

Result<std::unique_ptr<Volume>> Volume::OpenWarm(const Parts& parts, const VolumeConfig& config,
                                                 VolumeBase base) {
  auto volume = std::unique_ptr<Volume>(new Volume(parts, config));
  volume->TakeBase(base);
  JournalConfig journal_config = config.journal;
  journal_config.stable_seq = base.journal_end;
  auto warm = WarmJournal::Open(journal_config, [&](const JournalRecord& record) {
    volume->Replay(record, base.journal_end);
  });
  if (!warm.ok()) return warm.error();
  volume->warm_ = std::move(warm.value());
  return volume;
}

Result<uint64_t> Volume::CatchUp(uint64_t until_seq) {
  // Its base is fixed while it is warm: the writer commits nothing to the bucket meanwhile.
  const auto caught = warm_->CatchUp(
      until_seq, [this](const JournalRecord& record) { Replay(record, stable_seq_); });
  if (!caught.ok()) return caught.error();
  return warm_->last_seq();
}

Result<void> Volume::PrepareAdopt() { return warm_->Prepare(); }

bool Volume::Matches(const JournalHandover& handover) const noexcept {
  return warm_->Matches(handover);
}

Result<void> Volume::Adopt(const JournalHandover& handover, UniqueFd lock) {
  auto adopted = WarmJournal::Adopt(std::move(warm_), handover, std::move(lock));
  if (!adopted.ok()) {
    failed_ = true;
    return adopted.error();
  }
  journal_ = std::move(adopted.value());
  BeginServing();
  return {};
}

void Volume::SetCalm(bool calm, std::function<void()> settled) {
  calm_ = calm;
  if (calm && !failed_ && (recycling_ || journal_->recycling())) {
    loop_.After(kSettleLookNs, [this, settled = std::move(settled)]() mutable {
      SetCalm(calm_, std::move(settled));
    });
    return;
  }
  settled();
  if (!calm) ReleaseHeld();
}

void Volume::LetGo() {
  failed_ = true;
  journal_->LetGo();
}

void Volume::GiveBackWaiting(bool syncs) {
  // In the order of Fail(): held writes may be staged in part; doing them again changes nothing.
  while (!backpressure_.empty()) Finish(backpressure_.Pop(), kGivenBack);
  fetch_by_key_.clear();
  fetches_.clear();
  chunk_waiters_.clear();
  for (const auto& [request, pending] : std::exchange(pending_reads_, {})) {
    Finish(request, kGivenBack);
  }
  // A sync that nobody waits for any more ends as any other: a failure is final for the journal.
  if (config_.flush_to_store || syncs) flusher_->FailAll(kGivenBack);
}

}  // namespace weir
