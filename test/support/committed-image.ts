// What the bucket says a volume holds at its committed position, read with the TypeScript codecs
// alone: an independent second implementation of the map, for comparing with what the native engine
// serves.
import { decodeChunk } from "../../core/log/chunk-codec.ts";
import { readChunk } from "../../core/log/checkpoints.ts";
import { decodeFrame } from "../../core/log/frame-codec.ts";
import { logKey } from "../../core/log/keys.ts";
import { readLog } from "../../core/log/open-log.ts";
import { decodeSegmentIndex, type LogPlace } from "../../core/log/segment-codec.ts";
import type { LogContext } from "../../core/log/context.ts";
import type { VolumeUid } from "../../core/runtime/ids.ts";

const BLOCK = 4096;
const CHUNK_BLOCKS = 16_384;

/** The whole image; REQUIRES a volume that fits in memory. */
export async function committedImage(
  options: LogContext & { readonly volume: VolumeUid },
): Promise<Buffer> {
  const log = await readLog(options);
  const image = Buffer.alloc(log.committed.volumeSizeBytes);
  const frames = new FrameReader(options);
  for (const entry of log.checkpoint?.chunks ?? []) {
    const root = log.checkpoint;
    if (root === null) break;
    const chunk = decodeChunk(
      entry.chunk,
      await readChunk({ ...options, root, chunk: entry.chunk }),
    );
    for (const extent of chunk.extents) {
      const frame = chunk.frames[extent.frame];
      const place = frame === undefined ? undefined : chunk.segments[frame.segment];
      if (frame === undefined || place === undefined)
        throw new Error("a chunk names what it does not list");
      const raw = await frames.read(place, frame);
      const from = extent.blockInFrame * BLOCK;
      raw.copy(
        image,
        (entry.chunk * CHUNK_BLOCKS + extent.start) * BLOCK,
        from,
        from + extent.blockCount * BLOCK,
      );
    }
  }
  for (const { indexBytes } of log.segments) {
    const { header, frames: list, extents } = decodeSegmentIndex(indexBytes);
    for (const extent of extents) {
      const at = extent.startBlock * BLOCK;
      if (extent.kind === "zeroes") {
        image.fill(0, at, at + extent.blockCount * BLOCK);
        continue;
      }
      const frame = list[extent.frame];
      if (frame === undefined) throw new Error("a segment names a frame that it does not list");
      const raw = await frames.read(header, frame);
      const from = extent.blockInFrame * BLOCK;
      raw.copy(image, at, from, from + extent.blockCount * BLOCK);
    }
  }
  return image;
}

class FrameReader {
  readonly #context: LogContext;
  readonly #known = new Map<string, Buffer>();

  constructor(context: LogContext) {
    this.#context = context;
  }

  async read(
    place: LogPlace,
    frame: { readonly offset: number; readonly length: number; readonly blocks: number },
  ): Promise<Buffer> {
    const key = logKey(place);
    const id = `${key}:${frame.offset}`;
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const got = await this.#context.store.get(key, {
      range: { offset: frame.offset, length: frame.length },
    });
    if (got.kind === "absent") throw new Error(`${key} is absent`);
    const identity = {
      volume: place.volume,
      epoch: place.epoch,
      seq: place.seq,
      offset: frame.offset,
    };
    const raw = Buffer.from(decodeFrame({ identity, blocks: frame.blocks, bytes: got.bytes }));
    this.#known.set(id, raw);
    return raw;
  }
}
