// Entry point of the native addon. The TypeScript facade (csi-node/engine/native.ts) is its only
// user.
#include <napi.h>

#include "addon/engine_wrap.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", weir::addon::EngineWrap::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(weir, Init)
