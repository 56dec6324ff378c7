// A store that misbehaves as real ones do, by rules: it refuses, loses answers after the work is
// done or before, does work twice or long after its caller gave up, and sends damaged bytes. Around
// a memory store, with a seeded Random and a FakeClock, a run repeats exactly. Every call and every
// late effect is written down in `journal`, for tests that ask what really happened.

import { assert, unreachable } from "../runtime/assert.ts";
import { type FaultCode, WeirError } from "../runtime/errors.ts";
import type { Clock, Random } from "../runtime/ports.ts";
import { checkAbort } from "../runtime/timer-signals.ts";
import { type StoreCounts, zeroCounts } from "./counting-store.ts";
import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ObjectStore,
} from "./object-store.ts";

export type StoreOperation = "create" | "get" | "list" | "delete";

/**
 * A lost answer is `ambiguous` from create and a `store-unavailable` fault from the other calls.
 * - fail-before: nothing is done, the answer is lost.
 * - lose-answer: the work is done, the answer is lost.
 * - apply-twice: the work is done twice; the answer is that of the second time.
 * - hold: the answer is lost (after `answerAfterMs`); the work is done at `releaseHeld`.
 * - conflict: create answers `conflict`, nothing is done.
 * - refuse: throws this fault, nothing is done.
 * - delay, delay-answer: waits before or after the work; an abort meanwhile loses the answer.
 * - truncate, alter: get gives fewer bytes, or the bytes with one bit changed.
 */
export type StoreFault =
  | { readonly kind: "fail-before" }
  | { readonly kind: "lose-answer" }
  | { readonly kind: "apply-twice" }
  | { readonly kind: "hold"; readonly answerAfterMs?: number }
  | { readonly kind: "conflict" }
  | { readonly kind: "refuse"; readonly code: FaultCode }
  | { readonly kind: "delay"; readonly ms: number }
  | { readonly kind: "delay-answer"; readonly ms: number }
  | { readonly kind: "truncate"; readonly keepBytes: number }
  | { readonly kind: "alter"; readonly atByte: number };

/** The first rule that matches a call and fires decides; a call that no rule wants goes through. */
export interface FaultRule {
  readonly on: StoreOperation | "any";
  /**
   * `*` stands for any characters; for list it is matched with the prefix. Every key unless given.
   */
  readonly key?: string;
  /** Fires only for the n-th call that matches, from 1. */
  readonly nth?: number;
  /** Fires at most so often. */
  readonly times?: number;
  /** Of each matching call; 1 unless given. */
  readonly probability?: number;
  readonly fault: StoreFault;
}

export interface JournalEntry {
  /** Numbers the calls from 1; a late effect has the number of its call. */
  readonly call: number;
  readonly operation: StoreOperation;
  readonly key: string;
  readonly fault?: StoreFault["kind"];
  /** What reached the store: an answer's kind, `done`, `nothing` or `held`. */
  readonly effect: string;
}

interface ActiveRule {
  readonly rule: FaultRule;
  readonly pattern: RegExp;
  matches: number;
  fired: number;
}

interface Call<T> {
  readonly number: number;
  readonly operation: StoreOperation;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
  readonly apply: () => Promise<T>;
  /** The answer to the caller when the real one is lost; may throw. */
  readonly lost: () => T;
  readonly damage?: (answer: T, fault: StoreFault) => T;
  readonly conflict?: () => T;
}

interface HeldCall {
  readonly number: number;
  readonly operation: StoreOperation;
  readonly key: string;
  readonly apply: () => Promise<unknown>;
}

export class FaultyStore implements ObjectStore {
  readonly label: string;
  readonly #inner: ObjectStore;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #journal: JournalEntry[] = [];
  readonly #counts: StoreCounts = zeroCounts();
  #rules: ActiveRule[] = [];
  #held: HeldCall[] = [];
  #callCount = 0;

  constructor(options: {
    readonly inner: ObjectStore;
    readonly clock: Clock;
    readonly random: Random;
    readonly rules?: readonly FaultRule[];
  }) {
    this.label = options.inner.label;
    this.#inner = options.inner;
    this.#clock = options.clock;
    this.#random = options.random;
    for (const rule of options.rules ?? []) this.addRule(rule);
  }

  /** Every call and every late effect, in the order in which they happened. */
  get journal(): readonly JournalEntry[] {
    return this.#journal;
  }

  /** What callers asked for, whatever became of it. */
  get counts(): Readonly<StoreCounts> {
    return this.#counts;
  }

  get heldCount(): number {
    return this.#held.length;
  }

  /** Behind the rules that are there already. */
  addRule(rule: FaultRule): void {
    const { kind } = rule.fault;
    const fits =
      kind === "conflict" ? rule.on === "create" : rule.on === "get" || !isDamage(rule.fault);
    assert(fits, "a fault fits its operation", { on: rule.on, kind });
    this.#rules.push({ rule, pattern: globPattern(rule.key ?? "*"), matches: 0, fired: 0 });
  }

  /** From here on everything works; what is held stays held. */
  clearRules(): void {
    this.#rules = [];
  }

  /** Lets held calls happen now, the oldest first; those whose key matches, or all. */
  async releaseHeld(key = "*"): Promise<void> {
    const pattern = globPattern(key);
    const due = this.#held.filter((held) => pattern.test(held.key));
    this.#held = this.#held.filter((held) => !pattern.test(held.key));
    for (const held of due) {
      const answer = await held.apply();
      this.#write({ ...held, fault: { kind: "hold" } }, effectOf(answer));
    }
  }

  create(key: string, body: Uint8Array, options: CallOptions = {}): Promise<CreateOutcome> {
    this.#counts.creates += 1;
    this.#counts.sentBytes += body.length;
    // The caller may reuse its buffer once it has an answer, but a held call still needs the bytes.
    const copy = body.slice();
    return this.#run<CreateOutcome>({
      ...this.#begin("create", key, options.signal),
      apply: () => this.#inner.create(key, copy),
      lost: () => ({ kind: "ambiguous", cause: lostAnswer(key) }),
      conflict: () => ({ kind: "conflict" }),
    });
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange } = {},
  ): Promise<GetOutcome> {
    this.#counts.gets += 1;
    const { signal, range } = options;
    const outcome = await this.#run<GetOutcome>({
      ...this.#begin("get", key, signal),
      apply: () => this.#inner.get(key, range === undefined ? {} : { range }),
      lost: () => throwLost(key),
      damage: damageFound,
    });
    if (outcome.kind === "found") this.#counts.receivedBytes += outcome.bytes.length;
    return outcome;
  }

  list(
    prefix: string,
    options: CallOptions & { readonly after?: string; readonly limit?: number } = {},
  ): Promise<ListPage> {
    this.#counts.lists += 1;
    const { signal, ...query } = options;
    return this.#run<ListPage>({
      ...this.#begin("list", prefix, signal),
      apply: () => this.#inner.list(prefix, query),
      lost: () => throwLost(prefix),
    });
  }

  delete(key: string, options: CallOptions = {}): Promise<void> {
    this.#counts.deletes += 1;
    return this.#run<void>({
      ...this.#begin("delete", key, options.signal),
      apply: () => this.#inner.delete(key),
      lost: () => throwLost(key),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#inner[Symbol.asyncDispose]();
  }

  #begin(
    operation: StoreOperation,
    key: string,
    signal: AbortSignal | undefined,
  ): Pick<Call<never>, "number" | "operation" | "key" | "signal"> {
    this.#callCount += 1;
    return { number: this.#callCount, operation, key, signal };
  }

  async #run<T>(call: Call<T>): Promise<T> {
    checkAbort(call.signal);
    const fault = this.#faultFor(call);
    const apply = async (): Promise<T> => {
      const answer = await call.apply();
      this.#write({ ...call, fault }, effectOf(answer));
      return answer;
    };
    if (fault === undefined) return apply();
    switch (fault.kind) {
      case "fail-before":
        this.#write({ ...call, fault }, "nothing");
        return call.lost();
      case "lose-answer":
        await apply();
        return call.lost();
      case "apply-twice":
        await apply();
        return apply();
      case "hold":
        this.#held.push(call);
        this.#write({ ...call, fault }, "held");
        await this.#waits(fault.answerAfterMs ?? 0, call.signal);
        return call.lost();
      case "conflict":
        this.#write({ ...call, fault }, "nothing");
        return call.conflict?.() ?? call.lost();
      case "refuse":
        this.#write({ ...call, fault }, "nothing");
        throw new WeirError(fault.code, "a planted fault refused the request");
      case "delay":
        if (await this.#waits(fault.ms, call.signal)) return apply();
        this.#write({ ...call, fault }, "nothing");
        return call.lost();
      case "delay-answer": {
        const answer = await apply();
        return (await this.#waits(fault.ms, call.signal)) ? answer : call.lost();
      }
      case "truncate":
      case "alter": {
        const answer = await apply();
        return call.damage === undefined ? answer : call.damage(answer, fault);
      }
      default:
        return unreachable(fault);
    }
  }

  /** False when the signal aborted the wait. */
  async #waits(ms: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (ms === 0) return true;
    try {
      await this.#clock.sleep(ms, signal);
      return true;
    } catch {
      return false;
    }
  }

  #faultFor(call: { operation: StoreOperation; key: string }): StoreFault | undefined {
    for (const active of this.#rules) {
      const { on, nth, times = Infinity, probability = 1, fault } = active.rule;
      if ((on !== "any" && on !== call.operation) || !active.pattern.test(call.key)) continue;
      active.matches += 1;
      if ((nth !== undefined && active.matches !== nth) || active.fired >= times) continue;
      // A certain rule takes no random number, so adding one does not change the others' luck.
      if (probability < 1 && this.#random.fraction() >= probability) continue;
      active.fired += 1;
      return fault;
    }
    return undefined;
  }

  #write(call: HeldCall & { fault?: StoreFault | undefined }, effect: string): void {
    const { number, operation, key, fault } = call;
    const planted = fault === undefined ? {} : { fault: fault.kind };
    this.#journal.push({ call: number, operation, key, ...planted, effect });
  }
}

const isDamage = (fault: StoreFault): boolean =>
  fault.kind === "truncate" || fault.kind === "alter";

function damageFound(answer: GetOutcome, fault: StoreFault): GetOutcome {
  if (answer.kind !== "found") return answer;
  if (fault.kind === "truncate") {
    return { ...answer, bytes: answer.bytes.subarray(0, fault.keepBytes) };
  }
  if (fault.kind !== "alter" || answer.bytes.length === 0) return answer;
  const bytes = answer.bytes.slice();
  const index = fault.atByte % bytes.length;
  bytes[index] = (bytes[index] ?? 0) ^ 1;
  return { ...answer, bytes };
}

function lostAnswer(key: string): WeirError {
  return new WeirError("store-unavailable", "the answer was lost by a planted fault", {
    details: { key },
  });
}

function throwLost(key: string): never {
  throw lostAnswer(key);
}

function effectOf(answer: unknown): string {
  const hasKind = typeof answer === "object" && answer !== null && "kind" in answer;
  return hasKind && typeof answer.kind === "string" ? answer.kind : "done";
}

function globPattern(glob: string): RegExp {
  const parts = glob.split("*").map((part) => RegExp.escape(part));
  return new RegExp(`^${parts.join(".*")}$`, "u");
}
