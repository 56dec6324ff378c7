// Looks through the whole bucket, for many at a time. A deletion must see every record that was
// there when it asked, so it takes a scan that begins after that; but all who ask while one runs
// share the next. So a hundred deletions at once cost a few scans, not two hundred.

import { abortable } from "../runtime/timer-signals.ts";
import { listSnapshots, listVolumes } from "./catalog.ts";
import type { LogContext, RecordScans } from "./context.ts";
import type { SnapshotRecord, VolumeRecord } from "./records.ts";

export class SharedScans implements RecordScans {
  readonly #volumes: SharedScan<readonly VolumeRecord[]>;
  readonly #snapshots: SharedScan<readonly SnapshotRecord[]>;

  /** The context's signal ends the scans, whoever waits for them. */
  constructor(context: LogContext) {
    this.#volumes = new SharedScan(() => listVolumes(context));
    this.#snapshots = new SharedScan(() => listSnapshots(context));
  }

  volumes(signal: AbortSignal): Promise<readonly VolumeRecord[]> {
    return abortable(this.#volumes.next(), signal);
  }

  snapshots(signal: AbortSignal): Promise<readonly SnapshotRecord[]> {
    return abortable(this.#snapshots.next(), signal);
  }
}

class SharedScan<T> {
  readonly #scan: () => Promise<T>;
  /** Began before whoever asks now, and may have passed what they must see. Never rejects. */
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(scan: () => Promise<T>) {
    this.#scan = scan;
  }

  next(): Promise<T> {
    this.#next ??= this.#begin();
    return this.#next;
  }

  async #begin(): Promise<T> {
    await this.#running;
    this.#next = undefined;
    const scan = this.#scan();
    this.#running = scan.catch(() => undefined);
    return await scan;
  }
}
