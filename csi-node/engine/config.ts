// Everything about the engine that a user may set, checked once. Sizes are bytes, times
// milliseconds.
import { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";

const MIB = 1024 * 1024;
const bytes = (fallback: number, min = 0) =>
  z.number().int().min(min).max(Number.MAX_SAFE_INTEGER).default(fallback);
const absolutePath = z.string().regex(/^\/[^\0]*$/u, "must be an absolute path");

/** How one volume is served: a StorageClass carries these. */
export const volumePolicySchema = z.object({
  /**
   * What a FLUSH waits for: `local` = this node's journal is synced, `s3` = its segment is in the
   * bucket.
   */
  durability: z.enum(["local", "s3"]).default("local"),
  /** Dirty data is uploaded when its oldest write is this old. */
  maxDirtyAgeMs: z.number().int().min(10).max(86_400_000).default(5_000),
  /** Live bytes of one segment. */
  segmentBytes: bytes(8 * MIB, 64 * 1024).pipe(z.number().max(16 * MIB)),
  /** Writes are slowed from 70 % of this on and held at 90 %. */
  maxDirtyBytes: bytes(256 * MIB, MIB),
  /** A read that cannot be served for this long ends in EIO. */
  readDeadlineMs: z.number().int().min(100).max(3_600_000).default(60_000),
  /** A checkpoint is written after this many segments: bounds what the next attach has to read. */
  checkpointSegments: z.number().int().min(1).max(1_000).default(64),
  zstdLevel: z.number().int().min(1).max(19).default(1),
});
export type VolumePolicy = z.infer<typeof volumePolicySchema>;

/** What the engine of one node uses of it. */
export const engineConfigSchema = z.object({
  /** This node in epoch records; absent: the host's name. */
  nodeName: z.string().min(1).max(253).optional(),
  /**
   * Journals, the clean cache and local records live below. Class `local` needs a real disk here.
   */
  stateDirectory: absolutePath.default("/var/lib/weir"),
  /** Control socket and NBD sockets. */
  runDirectory: absolutePath.default("/run/weir"),
  journalBytes: bytes(1024 * MIB, 8 * MIB),
  journalFileBytes: bytes(64 * MIB, MIB).pipe(z.number().max(1024 * MIB)),
  cacheRamBytes: bytes(64 * MIB),
  cacheFileBytes: bytes(1024 * MIB),
  mapBytesMax: bytes(256 * MIB, MIB),
  /** Segments being uploaded at once, per volume; each is held in memory. */
  uploadsInFlight: z.number().int().min(1).max(16).default(3),
  /**
   * Uploads happen only when asked for (snapshot, grow, detach): for maintenance and measurements.
   */
  holdUploads: z.boolean().default(false),
  /** Bytes of frames being fetched at once, for the whole node. */
  fetchBytesMax: bytes(64 * MIB, MIB),
  uploadNice: z.number().int().min(0).max(19).default(10),
});
export type EngineConfig = z.infer<typeof engineConfigSchema>;

/** Parses with one sentence for the first mistake. */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  what: string,
): z.infer<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where =
    issue === undefined || issue.path.length === 0 ? what : `${what} "${issue.path.join(".")}"`;
  throw new WeirError(
    "invalid-argument",
    `${where} is not valid: ${issue?.message ?? "unknown mistake"}`,
  );
}
