// Starting and stopping what serves a volume: NBD on a unix socket, ublk.
#include <cerrno>
#include <utility>

#include "addon/convert.h"
#include "addon/engine_wrap.h"

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
      // Not from inside the server's own call.
      at.loop().Post([&at] { at.nbd.reset(); });
      Done(call);
    });
  });
}

}  // namespace weir::addon
