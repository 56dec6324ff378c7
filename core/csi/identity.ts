// The identity service, the same at the operator's socket and a node's: what the driver is and can.
import {
  GetPluginCapabilitiesResponse,
  IdentityService,
  PluginCapability_Service_Type as PluginService,
  PluginCapability_VolumeExpansion_Type as Expansion,
} from "./generated/csi.ts";
import { rpcService, type RpcService } from "./rpc-service.ts";
import { DRIVER } from "./driver.ts";
import { VERSION } from "../runtime/version.ts";

export function identityService(): RpcService {
  return rpcService(IdentityService, {
    getPluginInfo: () => Promise.resolve({ name: DRIVER, vendorVersion: VERSION, manifest: {} }),
    getPluginCapabilities: () =>
      Promise.resolve(
        GetPluginCapabilitiesResponse.fromPartial({
          capabilities: [
            { type: { $case: "service", value: { type: PluginService.CONTROLLER_SERVICE } } },
            { type: { $case: "volumeExpansion", value: { type: Expansion.ONLINE } } },
          ],
        }),
      ),
    // Only that this process answers: sidecars wait for it at their start, and whoever restarts the
    // process because of it would heal neither the store nor the engine.
    probe: () => Promise.resolve({ ready: true }),
  });
}
