// The operator in one process without a cluster: a fake API server, a bucket in memory, a clock
// that tests move, the real reconcilers, the real CSI functions, and for each node the real
// snapshot agent over an engine that does nothing but what a snapshot needs.

import { pino, type Logger } from "pino";
import { runSnapshotAgent } from "../../csi-node/csi/snapshot-agent.ts";
import type { EngineApi } from "../../csi-node/control/engine-api.ts";
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type VolumeCapability,
  CreateSnapshotRequest,
  CreateVolumeRequest,
} from "../../core/csi/generated/csi.ts";
import { EventRecorder } from "../../core/kube/events.ts";
import { FakeKube, type FakeCall } from "../../core/kube/fake-kube.ts";
import { CSI_NODE, NODE } from "../../core/kube/kinds.ts";
import { Reflector } from "../../core/kube/reflector.ts";
import { getSnapshot } from "../../core/log/catalog.ts";
import { writeCheckpoint } from "../../core/log/checkpoints.ts";
import type { LogContext } from "../../core/log/context.ts";
import { openLog } from "../../core/log/open-log.ts";
import { SharedScans } from "../../core/log/shared-scans.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import { createSnapshot } from "../../core/log/snapshots.ts";
import { findVolume } from "../../core/log/volumes.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import type { SnapshotUid } from "../../core/runtime/ids.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { MemoryStore } from "../../core/store/memory-store.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import { SNAPSHOT, type Snapshot } from "../../crds/snapshot.ts";
import { VOLUME, type Volume } from "../../crds/volume.ts";
import { Backend } from "../../operator/backend.ts";
import { InFlight } from "../../operator/csi/in-flight.ts";
import type { ServiceParts } from "../../operator/csi/service-parts.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { People } from "../../operator/people.ts";
import { startReconcilers } from "../../operator/reconcile/reconcilers.ts";
import { captureLogs } from "./log-capture.ts";
import { JOURNAL } from "./log/samples.ts";

export const GIB = 2 ** 30;
export const MIB = 2 ** 20;

/** Longer than any retry that a test waits for. */
const SETTLE_MS = 60_000;
/** How long an engine has a volume open for a snapshot, at most. */
const OPENING_MS = 300;

export interface WorldOptions {
  readonly seed?: number;
  readonly nodes?: readonly string[];
  /** Stands between the operator and the bucket. */
  readonly storeOver?: (bucket: MemoryStore) => ObjectStore;
  readonly onCall?: (call: FakeCall) => void | Promise<void>;
  /** Of a run with planted faults nobody wants to list what is logged. */
  readonly isQuiet?: boolean;
}

export class OperatorWorld implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly random: SeededRandom;
  readonly log: Logger;
  readonly bucket = new MemoryStore({ clock: this.clock });
  readonly kube: FakeKube;
  readonly parts: ServiceParts;
  /** Nodes that take no snapshots for now. */
  readonly idleNodes = new Set<string>();
  /** Nodes that opened a volume which another one had: in truth they fence each other. */
  readonly clashes: string[] = [];
  readonly #opened = new Map<string, string>();
  readonly #stack = new AsyncDisposableStack();
  readonly #stop = new AbortController();

  constructor(options: WorldOptions = {}) {
    const { seed = 1, nodes = ["n1", "n2"], storeOver = (bucket) => bucket, onCall } = options;
    this.log = options.isQuiet === true ? pino({ level: "silent" }) : pino({}, captureLogs());
    const { clock, log } = this;
    this.random = new SeededRandom(seed);
    const ports = { clock, random: this.random, log };
    this.kube = new FakeKube({ ...ports, ...(onCall === undefined ? {} : { onCall }) });
    const api = this.kube;
    const store = storeOver(this.bucket);
    const recorder = this.#stack.use(new EventRecorder({ ...ports, api }));
    this.parts = {
      ...ports,
      ...{ api, store },
      scans: new SharedScans({ ...ports, store, signal: this.#stop.signal }),
      backend: new Backend({ ...ports, store }),
      people: new People({ api, recorder }),
      volumes: this.#stack.use(new Reflector({ ...ports, api, kind: VOLUME })),
      snapshots: this.#stack.use(new Reflector({ ...ports, api, kind: SNAPSHOT })),
      inFlight: new InFlight(),
    };
    for (const name of nodes) this.addNode(name);
  }

  /** Starts everything and waits until the store has passed the probe. */
  static async started(options: WorldOptions = {}): Promise<OperatorWorld> {
    const world = new OperatorWorld(options);
    world.start();
    await world.run(world.parts.backend.run(world.#stop.signal));
    return world;
  }

  start(): void {
    this.#stack.use(startReconcilers({ parts: this.parts, onReconciled: () => undefined }));
  }

  addNode(name: string): void {
    this.setNode(name, {});
    const drivers = [{ name: DRIVER, nodeID: name }];
    this.kube.seed(CSI_NODE, { metadata: { name }, spec: { drivers } });
    const { clock, random, log } = this;
    const engine = this.#engineOf(name);
    const parts = { api: this.kube, engine, nodeName: name, clock, random, log };
    const running = runSnapshotAgent(parts, this.#stop.signal);
    this.#stack.defer(() => running);
  }

  setNode(name: string, state: { readonly ready?: boolean; readonly taints?: object[] }): void {
    const { ready = true, taints = [] } = state;
    const conditions = [{ type: "Ready", status: ready ? "True" : "Unknown" }];
    this.kube.seed(NODE, { metadata: { name }, spec: { taints }, status: { conditions } });
  }

  get call(): { readonly signal: AbortSignal } {
    return { signal: this.#stop.signal };
  }

  get context(): LogContext {
    const { bucket: store, clock, random } = this;
    return { store, clock, random, signal: this.#stop.signal };
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.clock.runUntil(work);
  }

  /** Lets time pass, long enough for everything that is due. */
  async settle(): Promise<void> {
    await this.clock.advance(SETTLE_MS);
  }

  async volume(name: string): Promise<Volume | undefined> {
    return this.kube.get(VOLUME, { name }, this.call);
  }

  async snapshot(name: string): Promise<Snapshot | undefined> {
    return this.kube.get(SNAPSHOT, { name }, this.call);
  }

  /** Keys in the bucket beside the probe's. */
  keys(): readonly string[] {
    return this.bucket.keys();
  }

  eventReasons(kind?: string): readonly string[] {
    return this.kube.events
      .filter(({ regarding }) => kind === undefined || regarding.kind === kind)
      .map(({ reason }) => reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new WeirError("aborted", "the test is over"));
    await this.run(this.#stack.disposeAsync());
  }

  #engineOf(node: string): EngineApi {
    return {
      status: () => notHere(),
      attach: () => notHere(),
      detach: () => notHere(),
      grow: () => notHere(),
      snapshot: async ({ name, snapshot, uid }) => {
        if (this.idleNodes.has(node)) {
          throw new WeirError("engine-unavailable", "this node is idle in this test");
        }
        if (uid === undefined) return notHere();
        // Asked for again, an engine must not open the volume again: another node may have it.
        const taken = await getSnapshot({ ...this.context, uid });
        if (taken !== undefined) return taken;
        await this.#look(node, name);
        this.#opened.set(name, node);
        try {
          await this.clock.sleep(this.random.integer(OPENING_MS));
          return await this.takeSnapshot({ node, volume: name, snapshot, uid });
        } finally {
          this.#opened.delete(name);
          await this.#look(node, name);
        }
      },
    };
  }

  async #look(node: string, volume: string): Promise<void> {
    const opener = this.#opened.get(volume) ?? node;
    const found = await this.kube.get(VOLUME, { name: volume }, this.call);
    const attached = found?.status?.node ?? "";
    if (opener !== node) this.clashes.push(`${volume}: opened by ${opener} and ${node}`);
    if (attached !== "" && attached !== node) {
      this.clashes.push(`${volume}: opened by ${node}, attached to ${attached}`);
    }
  }

  /** As the engine does it for a volume without a writer. */
  async takeSnapshot(options: {
    readonly node: string;
    readonly volume: string;
    readonly snapshot: string;
    readonly uid: SnapshotUid;
  }): Promise<SnapshotRecord> {
    const { context } = this;
    const record = await findVolume({ ...context, name: options.volume });
    if (record === undefined) throw new WeirError("not-found", "there is no such volume");
    const opened = await openLog({ ...context, volume: record.uid, writer: options.node });
    const { position, volumeSizeBytes } = opened.committed;
    const sizeBytes = Math.max(volumeSizeBytes, record.sizeBytes);
    const root = await writeCheckpoint({
      ...context,
      volume: record.uid,
      position: position.epoch === 0 ? { epoch: opened.epoch, seq: position.seq } : position,
      journalId: JOURNAL,
      journalEnd: 0,
      volumeSizeBytes: sizeBytes,
      previous: opened.checkpoint,
      changed: [],
    });
    const { epoch, seq } = root.header;
    return createSnapshot({
      ...context,
      name: options.snapshot,
      uid: options.uid,
      volume: { uid: record.uid },
      position: { epoch, seq },
      checkpoint: root.header,
      sizeBytes,
    });
  }
}

export function mountCapability(
  mode: Mode = Mode.SINGLE_NODE_WRITER,
  fsType = "ext4",
): VolumeCapability {
  return {
    accessType: { $case: "mount", value: { fsType, mountFlags: [], volumeMountGroup: "" } },
    accessMode: { mode },
  };
}

export function createRequest(
  name: string,
  more: Partial<CreateVolumeRequest> = {},
): CreateVolumeRequest {
  return {
    ...CreateVolumeRequest.fromPartial({ name }),
    capacityRange: { requiredBytes: BigInt(GIB), limitBytes: 0n },
    volumeCapabilities: [mountCapability()],
    ...more,
  };
}

export function snapshotRequest(name: string, sourceVolumeId: string): CreateSnapshotRequest {
  return CreateSnapshotRequest.fromPartial({ name, sourceVolumeId });
}

function notHere(): never {
  throw new WeirError("internal", "the engine of this test cannot do that");
}
