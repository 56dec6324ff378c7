// A story in steps: each is announced, done, verified and timed, and the last word is a table of
// all of them. A step that does not hold ends the story.

interface Done {
  readonly title: string;
  readonly found: string;
  readonly seconds: number;
}

export class Story {
  readonly #done: Done[] = [];

  /** `found` says what was verified. */
  async step<T extends { readonly found: string }>(
    title: string,
    act: () => Promise<T>,
  ): Promise<T> {
    console.log(`\n${this.#done.length + 1}. ${title}`);
    const startMs = performance.now();
    const result = await act();
    const seconds = (performance.now() - startMs) / 1000;
    this.#done.push({ title, found: result.found, seconds });
    console.log(`   ok, ${seconds.toFixed(1)} s: ${result.found}`);
    return result;
  }

  /** Tells the whole story; the exit status. */
  async tell(story: () => Promise<void>): Promise<number> {
    try {
      await story();
    } catch (cause) {
      this.#showTable();
      // What was wrong first counts, not what the clearing away met then.
      const first: unknown = cause instanceof SuppressedError ? cause.suppressed : cause;
      const reason = first instanceof Error ? first.message : String(first);
      console.log(`\nThe demo failed in step ${this.#done.length + 1}: ${reason}`);
      return 1;
    }
    this.#showTable();
    console.log(`\nAll ${this.#done.length} steps were verified.`);
    return 0;
  }

  #showTable(): void {
    const width = Math.max(4, ...this.#done.map(({ title }) => title.length));
    console.log(`\n${"step".padEnd(width + 4)}  seconds  verified`);
    for (const [index, { title, seconds, found }] of this.#done.entries()) {
      const name = `${String(index + 1).padStart(2)}. ${title.padEnd(width)}`;
      console.log(`${name}  ${seconds.toFixed(1).padStart(7)}  ${found}`);
    }
  }
}

export function mustEqual(found: string | number, wanted: string | number, what: string): void {
  if (found === wanted) return;
  throw new Error(`${what}: found ${found}, wanted ${wanted}`);
}

export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`it does not hold that ${what}`);
}
