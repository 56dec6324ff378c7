// One node in this process: the real native engine and EngineHost over any store, in a folder of
// its own. Ends with the test: `await using node = openNode({ store })`.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { createLogger } from "../../core/runtime/log.ts";
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import {
  engineConfigSchema,
  volumePolicySchema,
  type EngineConfig,
  type VolumePolicy,
} from "../../csi-node/engine/config.ts";
import { EngineHost } from "../../csi-node/engine/engine-host.ts";
import { NativeEngine } from "../../csi-node/engine/native.ts";
import type { AttachedVolume } from "../../csi-node/control/engine-api.ts";
import { cache } from "../../hack/places.ts";
import { captureLogs } from "./log-capture.ts";
import { nativeFolder } from "../../hack/native-build.ts";

export interface NodeUnderTest extends AsyncDisposable {
  readonly host: EngineHost;
  readonly engine: NativeEngine;
  readonly folder: string;
  attach(
    name: string,
    policy?: Partial<VolumePolicy>,
  ): Promise<AttachedVolume & { readonly uri: string }>;
  detach(name: string): Promise<void>;
}

export interface NodeOptions {
  readonly store: ObjectStore;
  readonly config?: Partial<EngineConfig>;
  /**
   * A folder that a former node left, to go on with; else a fresh one that is removed at the end.
   */
  readonly folder?: string;
  readonly nodeName?: string;
}

/** A fresh folder on a disk: below the cache, because /tmp may be in memory. */
export function makeNodeFolder(): string {
  return mkdtempSync(join(cache, "node-"));
}

export function openNode(options: NodeOptions): NodeUnderTest {
  const folder = options.folder ?? makeNodeFolder();
  const config = engineConfigSchema.parse({
    journalBytes: 256 * 1024 * 1024,
    cacheFileBytes: 0,
    ...options.config,
    stateDirectory: join(folder, "state"),
    runDirectory: join(folder, "run"),
  });
  const engine = new NativeEngine({
    addonPath: join(nativeFolder("release"), "weir.node"),
    cacheDirectory: config.cacheFileBytes === 0 ? "" : join(config.stateDirectory, "cache"),
    cacheRamBytes: config.cacheRamBytes,
    cacheFileBytes: config.cacheFileBytes,
    uploadNice: config.uploadNice,
  });
  const log = createLogger({ level: "warn", name: "engine", destination: captureLogs() });
  const host = new EngineHost({
    engine,
    store: options.store,
    clock: realClock,
    random: realRandom,
    log,
    config,
    writer: options.nodeName ?? "node-under-test",
    bootId: "boot-under-test",
  });
  const context = { signal: AbortSignal.timeout(240_000) };
  return {
    host,
    engine,
    folder,
    async attach(name, policy = {}) {
      const attached = await host.attach(
        { name, transport: { kind: "nbd" }, policy: volumePolicySchema.parse(policy) },
        context,
      );
      if (attached.transport?.kind !== "nbd") throw new Error("attached without NBD");
      return { ...attached, uri: attached.transport.uri };
    },
    detach: (name) => host.detach({ name, force: false }, context),
    async [Symbol.asyncDispose]() {
      await host.close();
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    },
  };
}
