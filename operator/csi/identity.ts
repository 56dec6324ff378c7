// The identity service of the operator's socket: what the driver is and can.
import {
  GetPluginCapabilitiesResponse,
  IdentityService,
  PluginCapability_Service_Type as PluginService,
  PluginCapability_VolumeExpansion_Type as Expansion,
  type IdentityServer,
} from "../../core/csi/generated/csi.ts";
import { rpcService, type RpcService } from "../../core/csi/rpc-service.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { VERSION } from "../../core/runtime/version.ts";

export function identityService(): RpcService {
  return rpcService<IdentityServer>(IdentityService, {
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
    // Not whether the store answers: sidecars wait for this at their start, calls say it better.
    probe: () => Promise.resolve({ ready: true }),
  });
}
