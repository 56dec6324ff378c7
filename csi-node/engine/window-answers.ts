// Answers to what a volume asked for (frames, chunks) around the window of a handoff: while the
// volume may change hands they wait, and once it has they are dropped, because its new engine asks
// anew. To the old one such an answer would look like a damaged object.
import type { BlockVolume } from "./block-engine.ts";

type Answers = Pick<BlockVolume, "completeFetch" | "retryFetch" | "completeChunk">;

export class WindowAnswers implements Answers {
  readonly #volume: Answers;
  #window: PromiseWithResolvers<void> | undefined;
  #isGone = false;

  constructor(volume: Answers) {
    this.#volume = volume;
  }

  hold(): void {
    this.#window ??= Promise.withResolvers<void>();
  }

  letGo(outcome: "kept" | "gone"): void {
    this.#isGone = outcome === "gone";
    this.#window?.resolve();
    this.#window = undefined;
  }

  completeFetch(fetch: number, bytes: Uint8Array): Promise<boolean> {
    return this.#unlessGone(true, () => this.#volume.completeFetch(fetch, bytes));
  }

  retryFetch(fetch: number): Promise<void> {
    return this.#unlessGone(undefined, () => this.#volume.retryFetch(fetch));
  }

  completeChunk(chunk: number, payload: Uint8Array): Promise<boolean> {
    return this.#unlessGone(true, () => this.#volume.completeChunk(chunk, payload));
  }

  async #unlessGone<T>(otherwise: T, answer: () => Promise<T>): Promise<T> {
    while (this.#window !== undefined) await this.#window.promise;
    return this.#isGone ? otherwise : answer();
  }
}
