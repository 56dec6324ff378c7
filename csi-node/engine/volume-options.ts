// How the engine is told to open a volume: the same whether it attaches, recovers or takes over.
import { join } from "node:path";

import type { LogView } from "../../core/log/open-log.ts";
import type { Epoch, Nonce, VolumeUid } from "../../core/runtime/ids.ts";
import type { VolumeBase, VolumeOpenOptions } from "./block-engine.ts";
import type { EngineConfig, VolumePolicy } from "./config.ts";

export function journalDirectoryOf(config: EngineConfig, uid: VolumeUid): string {
  return join(config.stateDirectory, "journals", uid);
}

export function openOptionsOf(options: {
  readonly config: EngineConfig;
  readonly policy: VolumePolicy;
  readonly uid: VolumeUid;
  readonly epoch: Epoch;
  readonly journalId: Nonce;
}): VolumeOpenOptions {
  const { config, policy, uid, epoch, journalId } = options;
  return {
    uid,
    epoch,
    journalDirectory: journalDirectoryOf(config, uid),
    journalId,
    journalBytes: config.journalBytes,
    journalFileBytes: config.journalFileBytes,
    flushToStore: policy.durability === "s3",
    dirtyBytesMax: policy.maxDirtyBytes,
    batchBytes: policy.segmentBytes,
    mapBytesMax: config.mapBytesMax,
    zstdLevel: policy.zstdLevel,
  };
}

/** `journalEnd`: records of the local journal that the log holds. */
export function volumeBaseOf(log: LogView, journalEnd: number): VolumeBase {
  return {
    chunks: Uint32Array.from(log.checkpoint?.chunks ?? [], (entry) => entry.chunk),
    segments: log.segments.map((segment) => segment.indexBytes),
    committedEpoch: log.committed.position.epoch,
    committedSeq: log.committed.position.seq,
    sizeBytes: log.committed.volumeSizeBytes,
    journalEnd,
  };
}
