// Goal: checkpoints of one volume never overlap: a snapshot's and the one that the number of
// segments makes due may be asked for at the same moment, and the engine's map has room for one
// capture. Method: a volume that counts captures which were not given back, over a store in memory.
import { expect, test } from "vitest";

import { createVolume } from "../../core/log/volumes.ts";
import { asEpoch, asNonce, asSeq } from "../../core/runtime/ids.ts";
import { memoryContext } from "../../test/support/log/memory-context.ts";
import type { CheckpointCapture } from "./block-engine.ts";
import { Checkpointer } from "./checkpointer.ts";

class CountingVolume {
  seq = 1;
  captured = 0;
  capturedMost = 0;

  async capture(): Promise<CheckpointCapture> {
    this.captured += 1;
    this.capturedMost = Math.max(this.capturedMost, this.captured);
    const position = { epoch: asEpoch(1), seq: asSeq(this.seq) };
    const chunk = { chunk: 0, empty: true, bytes: new Uint8Array(0) };
    return { ...position, journalEnd: 1, sizeBytes: 1 << 30, missing: [], chunks: [chunk] };
  }

  async checkpointDone(): Promise<void> {
    this.captured -= 1;
  }

  async completeChunk(): Promise<boolean> {
    return true;
  }
}

test("a due checkpoint and a snapshot's take turns; a failure stops no other", async () => {
  const context = memoryContext();
  const { uid } = await createVolume({ ...context, name: "v", sizeBytes: 1 << 30 });
  const volume = new CountingVolume();
  const faults: unknown[] = [];
  const checkpointer = new Checkpointer({
    ...context,
    volume,
    uid,
    journalId: asNonce("01".repeat(16)),
    committed: {
      position: { epoch: asEpoch(1), seq: asSeq(0) },
      journalId: null,
      journalEnd: 0,
      volumeSizeBytes: 1 << 30,
    },
    root: null,
    everySegments: 1,
    segmentsBehind: 0,
    readDeadlineMs: 1000,
    onTrouble: (fault) => faults.push(fault),
  });
  const stopped = checkpointer.write({ signal: AbortSignal.abort() });
  await expect(stopped).rejects.toThrow(/given up/u);
  volume.captured = 0;
  volume.capturedMost = 0;
  checkpointer.noteCommit();
  const snapshot = checkpointer.write(context);
  volume.seq = 2;
  expect((await snapshot)?.position.seq).toBe(2);
  await checkpointer.settled();
  expect(faults).toEqual([]);
  expect(volume.capturedMost).toBe(1);
});
