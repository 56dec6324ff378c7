// One client's view of a shared bucket. The bucket itself is atomic, as S3 is; what this view adds
// is when a request takes effect, and what of the answer arrives:
// - lost after: applied, but the answer is lost (ambiguous)
// - lost before: never applied, and the answer says nothing (ambiguous)
// - late: the answer is lost, and the request is applied later, even after its client died
// - own 412: applied twice by something on the way, so the answer is "exists"
// - conflict: 409, not applied
// - unavailable: a GET or LIST that fails

import { WeirError } from "../../../core/runtime/errors.ts";
import type { SeededRandom } from "../../../core/runtime/seeded-random.ts";
import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ObjectStore,
} from "../../../core/store/object-store.ts";
import type { Scheduler } from "./scheduler.ts";

const FAULTS = ["lost-after", "lost-before", "late", "own-412", "conflict"] as const;
type Fault = (typeof FAULTS)[number] | "none";

export interface ScheduledStoreOptions {
  readonly bucket: ObjectStore;
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  /** For the trace. */
  readonly client: string;
  /** How likely a call goes wrong, 0 to 1. */
  readonly faultRate: number;
  /** The client dies before this call of its takes effect or is answered; never when absent. */
  readonly diesAtCall?: number;
}

export class ScheduledStore implements ObjectStore {
  readonly label = "scheduled:";
  readonly #options: ScheduledStoreOptions;
  /** Faults that happened, by kind: a run that had none proves little. */
  readonly faults = new Map<string, number>();
  calls = 0;
  readonly #death = Promise.withResolvers<"died">();

  constructor(options: ScheduledStoreOptions) {
    this.#options = options;
  }

  /** Resolves when the client dies: its own promises never settle after that. */
  get died(): Promise<"died"> {
    return this.#death.promise;
  }

  create(key: string, body: Uint8Array): Promise<CreateOutcome> {
    const { bucket, scheduler } = this.#options;
    const fault = this.#chooseFault();
    return this.#call(`PUT ${shortKey(key)} ${fault}`, async () => {
      this.#count(fault);
      if (fault === "none") return bucket.create(key, body);
      if (fault === "conflict") return { kind: "conflict" };
      if (fault === "late") {
        void scheduler.step(`late PUT ${shortKey(key)}`, () => bucket.create(key, body));
      }
      if (fault === "lost-after" || fault === "own-412") await bucket.create(key, body);
      if (fault === "own-412") return { kind: "exists" };
      return { kind: "ambiguous", cause: new Error(fault) };
    });
  }

  get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange } = {},
  ): Promise<GetOutcome> {
    const range = options.range === undefined ? {} : { range: options.range };
    return this.#read(`GET ${shortKey(key)}`, () => this.#options.bucket.get(key, range));
  }

  list(
    prefix: string,
    options: CallOptions & { readonly after?: string; readonly limit?: number } = {},
  ): Promise<ListPage> {
    const { signal: _, ...rest } = options;
    return this.#read(`LIST ${shortKey(prefix)}`, () => this.#options.bucket.list(prefix, rest));
  }

  delete(key: string): Promise<void> {
    return this.#call(`DELETE ${shortKey(key)}`, () => this.#options.bucket.delete(key));
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #read<T>(label: string, effect: () => Promise<T>): Promise<T> {
    const fails = this.#options.random.fraction() < this.#options.faultRate / 2;
    return this.#call(fails ? `${label} unavailable` : label, async () => {
      if (!fails) return effect();
      this.#count("unavailable");
      throw new WeirError("store-unavailable", "planted");
    });
  }

  #call<T>(label: string, effect: () => Promise<T>): Promise<T> {
    const { scheduler, client, diesAtCall, random } = this.#options;
    this.calls += 1;
    if (diesAtCall === undefined || this.calls < diesAtCall) {
      return scheduler.step(`${client}: ${label}`, effect);
    }
    // The dead client never hears of it; the request it may have sent takes effect or not.
    if (this.calls === diesAtCall && random.fraction() < 0.5) {
      void scheduler.step(`${client} died: ${label}`, effect).catch(() => {});
    }
    this.#death.resolve("died");
    return new Promise<T>(() => {});
  }

  #chooseFault(): Fault {
    const { random, faultRate } = this.#options;
    if (random.fraction() >= faultRate) return "none";
    return FAULTS[random.integer(FAULTS.length)] ?? "none";
  }

  #count(fault: string): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }
}

/** Without the long uid, for traces. */
function shortKey(key: string): string {
  return key.replace(/^volumes\/[0-9a-f]{32}\//u, "").replaceAll(/0{8,}/gu, "");
}
