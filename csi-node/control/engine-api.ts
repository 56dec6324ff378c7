// What a node's engine does for others: the CLI, the CSI node service, tests. EngineHost
// implements it in the engine's process; ControlClient speaks to it over the control socket.
import type { SnapshotUid, VolumeUid } from "../../core/runtime/ids.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import type { HandoffReport } from "../handoff/report.ts";
import type { VolumePolicy } from "../engine/config.ts";
import type { SessionStatus } from "../engine/volume-session.ts";

export type TransportRequest =
  | { readonly kind: "nbd"; readonly socketPath?: string | undefined }
  | { readonly kind: "ublk"; readonly depth?: number | undefined };

export type TransportInfo =
  /** `uri` is what NBD clients take. */
  | { readonly kind: "nbd"; readonly socketPath: string; readonly uri: string }
  | { readonly kind: "ublk"; readonly deviceId: number; readonly devicePath: string };

export interface AttachedVolume extends SessionStatus {
  readonly transport: TransportInfo | null;
}

/** A volume that this node served and could not take up again yet. */
interface WaitingVolume {
  readonly name: string;
  readonly uid: VolumeUid;
  readonly fault: { readonly code: string; readonly message: string };
}

export interface EngineStatus {
  readonly store: string;
  readonly volumes: readonly AttachedVolume[];
  readonly waiting: readonly WaitingVolume[];
  readonly cache: {
    readonly ramHits: number;
    readonly fileHits: number;
    readonly misses: number;
    readonly ramBytes: number;
    readonly fileBytes: number;
    readonly corrupt: number;
  };
  /** The last one that this engine took part in. */
  readonly handoff: HandoffReport | null;
}

export interface CallContext {
  readonly signal: AbortSignal;
  /** Dirty bytes left, while a call uploads. */
  readonly onProgress?: (dirtyBytes: number) => void;
}

/** All faults are WeirError. Volumes are named by their name in the store. */
export interface EngineApi {
  status(context: CallContext): Promise<EngineStatus>;
  /** Attaching what is attached the same way answers the same; another way is `in-use`. */
  attach(
    options: {
      readonly name: string;
      readonly transport: TransportRequest;
      readonly policy: VolumePolicy;
    },
    context: CallContext,
  ): Promise<AttachedVolume>;
  /**
   * Uploads everything, writes a checkpoint, removes device and journal. `force`: without
   * uploading; dirty data stays in the journal.
   */
  detach(
    options: { readonly name: string; readonly force: boolean },
    context: CallContext,
  ): Promise<void>;
  /**
   * Of an attached volume, or of one that is attached nowhere (it is opened for the moment). With
   * the same `uid` again it answers the snapshot it took before.
   */
  snapshot(
    options: {
      readonly name: string;
      readonly snapshot: string;
      readonly uid?: SnapshotUid | undefined;
    },
    context: CallContext,
  ): Promise<SnapshotRecord>;
  grow(
    options: { readonly name: string; readonly sizeBytes: number },
    context: CallContext,
  ): Promise<void>;
}
