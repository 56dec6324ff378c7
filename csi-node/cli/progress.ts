// Shows how much dirty data a long call still has to upload: one moving bar on a terminal, a line
// now and then elsewhere (a log must stay readable).
import type { Clock } from "../../core/runtime/ports.ts";
import type { TextStream } from "./output.ts";
import { formatSize } from "./units.ts";

const BAR_MS = 100;
const LINE_MS = 2_000;
const BAR_WIDTH = 30;
/** Goes to the first column and clears the line. */
const CLEAR_LINE = "\r\u001b[2K";

export class DirtyProgress implements Disposable {
  readonly #stream: TextStream | undefined;
  readonly #clock: Clock;
  readonly #label: string;
  #mostBytes = 0;
  #shownBytes = 0;
  #shownAtMs = Number.NEGATIVE_INFINITY;
  #barShown = false;

  constructor(options: {
    readonly stream: TextStream | undefined;
    readonly clock: Clock;
    readonly label: string;
  }) {
    this.#stream = options.stream;
    this.#clock = options.clock;
    this.#label = options.label;
  }

  update(dirtyBytes: number): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#mostBytes = Math.max(this.#mostBytes, dirtyBytes);
    // Nothing to do so far, or the end, which is shown once.
    if (this.#shownBytes === dirtyBytes) return;
    const isTerminal = stream.isTTY === true;
    const nowMs = this.#clock.monotonicMs();
    const isDue = nowMs - this.#shownAtMs >= (isTerminal ? BAR_MS : LINE_MS);
    if (!isDue && dirtyBytes > 0) return;
    this.#shownAtMs = nowMs;
    this.#shownBytes = dirtyBytes;
    if (isTerminal) {
      stream.write(`${CLEAR_LINE}${this.#bar(dirtyBytes)}`);
      this.#barShown = true;
    } else {
      stream.write(`${this.#label}: ${formatSize(dirtyBytes)} left to upload\n`);
    }
  }

  [Symbol.dispose](): void {
    if (this.#barShown) this.#stream?.write(CLEAR_LINE);
    this.#barShown = false;
  }

  #bar(dirtyBytes: number): string {
    const done = 1 - dirtyBytes / this.#mostBytes;
    const filled = Math.round(done * BAR_WIDTH);
    const bar = "#".repeat(filled) + ".".repeat(BAR_WIDTH - filled);
    const percent = `${Math.floor(done * 100)}%`.padStart(5);
    return `${this.#label} [${bar}]${percent}, ${formatSize(dirtyBytes)} left`;
  }
}
