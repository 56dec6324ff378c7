#include "engine/volume/volume_server.h"

#include <pthread.h>

#include <future>
#include <utility>

namespace weir {
namespace {

// Completions of one round on a busy volume: 128 tags, a few dozen connections, syncs. Larger
// bursts only cost an extra submit.
constexpr uint32_t kRingEntries = 512;

// For top and taskset, which otherwise show every thread by the process's name.
void NameThread() { pthread_setname_np(pthread_self(), "weir-volume"); }

}  // namespace

VolumeServer::VolumeServer(Parts parts) : parts_(std::move(parts)) {}

VolumeServer::~VolumeServer() {
  if (thread_.joinable()) thread_.join();
}

void VolumeServer::Start(VolumeConfig config, VolumeBase base,
                         std::function<void(Result<VolumeStats>)> opened, Mode mode) {
  thread_ = std::thread([this, config = std::move(config), base = std::move(base),
                         opened = std::move(opened),
                         mode]() mutable { Run(config, std::move(base), opened, mode); });
}

void VolumeServer::Run(const VolumeConfig& config, VolumeBase base,
                       const std::function<void(Result<VolumeStats>)>& opened, Mode mode) {
  NameThread();
  auto loop = Loop::Create(kRingEntries);
  if (!loop.ok()) {
    opened(loop.error());
    return;
  }
  loop_ = std::move(loop.value());
  const Volume::Parts parts{.loop = loop_.get(),
                            .cache = parts_.cache,
                            .background = parts_.background,
                            .foreground = parts_.foreground,
                            .host = parts_.host.get()};
  auto volume = mode == Mode::kWarm ? Volume::OpenWarm(parts, config, std::move(base))
                                    : Volume::Open(parts, config, std::move(base));
  if (!volume.ok()) {
    opened(volume.error());
    return;
  }
  volume_ = std::move(volume.value());
  opened(volume_->stats());
  loop_->Run();
}

void VolumeServer::With(std::function<void(VolumeServer&)> task) {
  loop_->Post([this, task = std::move(task)] { task(*this); });
}

void VolumeServer::Drain(Worker& worker) {
  std::promise<void> done;
  worker.Post([&done] { done.set_value(); });
  done.get_future().wait();
}

void VolumeServer::Park() {
  loop_->Stop();
  thread_.join();
  loop_->CloseRing();
  parked_ = true;
}

Result<void> VolumeServer::Unpark() {
  if (const auto opened = loop_->OpenRing(); !opened.ok()) return opened;
  parked_ = false;
  thread_ = std::thread([this] {
    NameThread();
    loop_->Run();
  });
  return {};
}

void VolumeServer::Close() {
  if (!parked_) {
    if (loop_ != nullptr) loop_->Stop();
    thread_.join();
  }
  Drain(*parts_.background);
  Drain(*parts_.foreground);
  // The thread has gone; only now may its ring be closed (Linux 6.12 corrupts memory the other way
  // round), and the ring goes before the buffers that its requests point to.
  loop_.reset();
  ublk.reset();
  nbd.reset();
  volume_.reset();
}

}  // namespace weir
