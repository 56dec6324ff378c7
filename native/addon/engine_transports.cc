// Starting and stopping what serves a volume: NBD on a unix socket, ublk.
#include <cerrno>
#include <utility>

#include "addon/convert.h"
#include "addon/engine_wrap.h"
#include "engine/volume/ublk_transport.h"

namespace weir::addon {

// (call, volume, socketPath, exportName)
void EngineWrap::ListenNbd(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  NbdConfig config{.socket_path = ToText(info[2]), .export_name = ToText(info[3])};
  server->With([this, call = CallOf(info), config = std::move(config)](VolumeServer& at) {
    if (at.nbd != nullptr) {
      Refuse(call, {EEXIST, "the volume is served over NBD already"});
      return;
    }
    auto nbd = NbdServer::Listen(at.loop(), at.volume(), config);
    if (!nbd.ok()) {
      Refuse(call, nbd.error());
      return;
    }
    at.nbd = std::move(nbd.value());
    Done(call);
  });
}

// (call, volume): answers what is in the device, then cuts every client.
void EngineWrap::CloseNbd(const Napi::CallbackInfo& info) {
  const Server server = Find(info);
  if (server == nullptr) return;
  server->With([this, call = CallOf(info)](VolumeServer& at) {
    if (at.nbd == nullptr) {
      Done(call);
      return;
    }
    at.nbd->Close([this, call, &at] {
      at.nbd.reset();
      Done(call);
    });
  });
}

Result<UblkControl*> EngineWrap::Control() {
  if (ublk_control_ == nullptr) {
    auto control = UblkControl::Open();
    if (!control.ok()) return control.error();
    ublk_control_ = std::move(control.value());
  }
  return ublk_control_.get();
}

void EngineWrap::WithControl(const Napi::CallbackInfo& info,
                             std::function<void(VolumeServer&, UblkControl&)> task) {
  Server server = Find(info);
  if (server == nullptr) return;
  control_->Post([this, call = CallOf(info), server = std::move(server), task = std::move(task)] {
    const Result<UblkControl*> control = Control();
    if (control.ok()) {
      task(*server, *control.value());
    } else {
      Refuse(call, control.error());
    }
  });
}

// (call, volume, id, depth, recover)
void EngineWrap::StartUblk(const Napi::CallbackInfo& info) {
  const UblkStart start{.id = info[2].As<Napi::Number>().Int32Value(),
                        .depth = static_cast<uint16_t>(ToU64(info[3])),
                        .recover = info[4].ToBoolean()};
  WithControl(info, [this, call = CallOf(info), start](VolumeServer& server, UblkControl& control) {
    const Result<void> started = weir::StartUblk(server, control, start);
    if (started.ok()) {
      Done(call);
    } else {
      Refuse(call, started.error());
    }
  });
}

// (call, volume)
void EngineWrap::StopUblk(const Napi::CallbackInfo& info) {
  WithControl(info, [this, call = CallOf(info)](VolumeServer& server, UblkControl& control) {
    const Result<void> stopped = weir::StopUblk(server, control);
    if (stopped.ok()) {
      Done(call);
    } else {
      Refuse(call, stopped.error());
    }
  });
}

// (call, volume)
void EngineWrap::ResizeUblk(const Napi::CallbackInfo& info) {
  WithControl(info, [this, call = CallOf(info)](VolumeServer& server, UblkControl& control) {
    const Result<void> resized = weir::ResizeUblk(server, control);
    if (resized.ok()) {
      Done(call);
    } else {
      Refuse(call, resized.error());
    }
  });
}

// (call, id)
void EngineWrap::AbandonUblk(const Napi::CallbackInfo& info) {
  control_->Post([this, call = CallOf(info), id = VolumeOf(info)] {
    const Result<UblkControl*> control = Control();
    const Result<void> gone =
        control.ok() ? weir::AbandonUblk(*control.value(), id) : Result<void>(control.error());
    if (gone.ok()) {
      Done(call);
    } else {
      Refuse(call, gone.error());
    }
  });
}

}  // namespace weir::addon
