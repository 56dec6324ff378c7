// Small valid objects for tests of the protocol.

import { asEpoch, asNonce, asSeq, asVolumeUid } from "../../../core/runtime/ids.ts";
import type { Nonce, VolumeUid } from "../../../core/runtime/ids.ts";
import type { Random } from "../../../core/runtime/ports.ts";
import { encodeChunk } from "../../../core/log/chunk-codec.ts";
import { BLOCK_BYTES } from "../../../core/log/limits.ts";
import { encodeSegment } from "../../../core/log/segment-codec.ts";

export const GIB = 2 ** 30;
export const JOURNAL = asNonce("1f1e1d1c1b1a19181716151413121110");

/** A segment that zeroes one block. Its journalEnd is ten times its number. */
export function sampleSegment(options: {
  readonly volume: VolumeUid;
  readonly epoch: number;
  readonly seq: number;
  readonly random: Random;
  readonly journalId?: Nonce;
  readonly volumeSizeBytes?: number;
}): { readonly bytes: Uint8Array; readonly nonce: Nonce } {
  const { volume, epoch, seq, random } = options;
  const nonce = asNonce(random.hex32());
  const bytes = encodeSegment({
    identity: {
      volume,
      epoch: asEpoch(epoch),
      seq: asSeq(seq),
      nonce,
      journalId: options.journalId ?? JOURNAL,
      journalEnd: seq * 10,
      volumeSizeBytes: options.volumeSizeBytes ?? GIB,
      createdAtMs: 0,
    },
    frames: [],
    extents: [{ kind: "zeroes", startBlock: seq, blockCount: 1 }],
    zstdLevel: 1,
  });
  return { bytes, nonce };
}

/** A segment with one frame of one block, so that it is longer than its index. */
export function sampleDataSegment(options: {
  readonly volume: VolumeUid;
  readonly epoch: number;
  readonly seq: number;
  readonly random: Random;
}): Uint8Array {
  const { volume, epoch, seq, random } = options;
  return encodeSegment({
    identity: {
      volume,
      epoch: asEpoch(epoch),
      seq: asSeq(seq),
      nonce: asNonce(random.hex32()),
      journalId: JOURNAL,
      journalEnd: seq * 10,
      volumeSizeBytes: GIB,
      createdAtMs: 0,
    },
    frames: [new Uint8Array(BLOCK_BYTES).fill(seq)],
    extents: [{ kind: "data", startBlock: seq, blockCount: 1, frame: 0, blockInFrame: 0 }],
    zstdLevel: 1,
  });
}

/** The map of a chunk with one block in it. */
export function samplePayload(options: {
  readonly volume: VolumeUid;
  readonly chunk: number;
  readonly seq: number;
}): Uint8Array {
  const { volume, chunk, seq } = options;
  return encodeChunk(
    {
      chunk,
      segments: [{ volume, epoch: asEpoch(1), seq: asSeq(seq) }],
      frames: [{ segment: 0, offset: 156, length: 60, blocks: 1 }],
      extents: [{ start: 7, blockCount: 1, frame: 0, blockInFrame: 0 }],
    },
    1,
  );
}

export const sampleUid = (random: Random): VolumeUid => asVolumeUid(random.hex32());
