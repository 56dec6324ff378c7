// Goal: whatever happens to watches, the copy becomes what the server has, with few lists. Method:
// the fake server ends, expires, stalls and refuses, under the fake clock; lists are counted.

import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { FakeKube } from "./fake-kube.ts";
import { WIDGET } from "./kube-contract.ts";
import type { Widget } from "./kube-contract.ts";
import { Reflector } from "./reflector.ts";

let clock: FakeClock;
let kube: FakeKube;
let reflector: Reflector<Widget>;
let changed: string[];
/** Verbs that fail. */
let failing: Set<string>;

beforeEach(() => {
  clock = new FakeClock();
  failing = new Set();
  changed = [];
  kube = new FakeKube({
    clock,
    random: new SeededRandom(1),
    onCall: ({ verb }) => {
      if (failing.has(verb)) throw new WeirError("kube-unavailable", "planted");
    },
  });
  put("before", 1);
  reflector = open({});
});

afterEach(async () => {
  await reflector[Symbol.asyncDispose]();
  expect(clock.timerCount).toBe(0);
  expect(kube.openWatches).toBe(0);
});

function open(options: { fieldSelector?: string }): Reflector<Widget> {
  const log = pino({ level: "debug" }, captureLogs());
  const made = new Reflector({
    api: kube,
    kind: WIDGET,
    clock,
    random: new SeededRandom(2),
    log,
    ...options,
  });
  made.onChange((key) => changed.push(key));
  return made;
}

function put(name: string, size: number): void {
  kube.seed(WIDGET, { metadata: { name }, spec: { size } });
}

const sizes = (): unknown =>
  reflector.items().map(({ metadata, spec }) => [metadata.name, spec?.size]);
const count = (verb: string): number => kube.calls.filter((call) => call.verb === verb).length;
const codeOf = (error: unknown): unknown => (error instanceof WeirError ? error.code : error);
const never = new AbortController().signal;

test("it lists once, then follows additions, changes and removals", async () => {
  await reflector.synced(never);
  expect(sizes()).toEqual([["before", 1]]);
  put("new", 2);
  put("before", 3);
  await clock.settle();
  expect(sizes()).toEqual([
    ["before", 3],
    ["new", 2],
  ]);
  kube.vanish(WIDGET, { name: "before" });
  await clock.settle();
  expect(sizes()).toEqual([["new", 2]]);
  expect(changed).toEqual(["before", "new", "before", "before"]);
  expect(count("list")).toBe(1);
});

test("an ended watch goes on where it was, without a list", async () => {
  await reflector.synced(never);
  await clock.advance(60_000);
  for (let round = 0; round < 5; round += 1) {
    kube.endWatches();
    put("new", round);
    await clock.advance(60_000);
    expect(reflector.get("new")?.spec?.size).toBe(round);
  }
  expect(count("list")).toBe(1);
  expect(count("watch")).toBe(6);
});

test("an expired watch lists again and finds what came, changed and went meanwhile", async () => {
  put("kept", 1);
  put("gone", 1);
  await reflector.synced(never);
  await clock.advance(60_000);
  failing.add("watch");
  kube.endWatches();
  await clock.settle();
  expectLog(/watching widgets failed/u);
  changed = [];
  kube.vanish(WIDGET, { name: "gone" });
  put("before", 2);
  put("new", 1);
  kube.forgetHistory();
  await clock.advance(10_000);
  failing.clear();
  await clock.advance(60_000);
  expect(sizes()).toEqual([
    ["before", 2],
    ["kept", 1],
    ["new", 1],
  ]);
  // What did not change is not told.
  expect(changed.toSorted()).toEqual(["before", "gone", "new"]);
  expect(count("list")).toBe(2);
});

test("while the server is away it asks less and less often, and never gives up", async () => {
  expectLog(/watching widgets failed/u);
  await reflector.synced(never);
  failing.add("watch").add("list");
  kube.endWatches();
  await clock.advance(60 * 60_000);
  const attempts = count("watch");
  expect(attempts).toBeGreaterThan(60);
  expect(attempts).toBeLessThan(300);
  expect(reflector.stalenessMs()).toBeGreaterThanOrEqual(60 * 60_000);
  failing.clear();
  put("new", 1);
  await clock.advance(60_000);
  expect(reflector.get("new")).toBeDefined();
});

test("bookmarks keep it fresh: after one, an old history is no reason to list", async () => {
  await reflector.synced(never);
  for (let index = 0; index < 3; index += 1) {
    kube.seed({ ...WIDGET, plural: "others" }, { metadata: { name: `other-${index}` } });
  }
  await clock.advance(60_000);
  expect(reflector.stalenessMs()).toBeGreaterThanOrEqual(60_000);
  kube.sendBookmarks();
  await clock.settle();
  expect(reflector.stalenessMs()).toBe(0);
  kube.forgetHistory();
  kube.endWatches();
  await clock.advance(60_000);
  expect(count("list")).toBe(1);
});

test("the list is read again now and then, in case a watch lost something", async () => {
  await reflector.synced(never);
  for (let minute = 0; minute < 32; minute += 1) {
    await clock.advance(60_000);
    kube.endWatches();
  }
  await clock.advance(1000);
  expect(count("list")).toBe(2);
});

test("watches that expire at once do not make a spin of lists", async () => {
  await reflector.synced(never);
  const expire = (): void => {
    kube.forgetHistory();
    kube.endWatches();
  };
  for (let second = 0; second < 60; second += 1) {
    put("before", second);
    expire();
    await clock.advance(1000);
  }
  expect(count("list")).toBeLessThan(20);
});

test("an object it cannot read is an error, tried again until it can", async () => {
  expectLog(/watching widgets failed/u);
  await reflector.synced(never);
  let isBroken = true;
  const strict = {
    ...WIDGET,
    parse: (value: unknown): Widget => {
      if (isBroken) throw new WeirError("internal", "planted");
      return WIDGET.parse(value);
    },
  };
  await using other = new Reflector({
    api: kube,
    kind: strict,
    clock,
    random: new SeededRandom(3),
    log: pino({}, captureLogs()),
  });
  await clock.advance(10_000);
  expect(other.isSynced).toBe(false);
  isBroken = false;
  await clock.advance(30_000);
  expect(other.items()).toHaveLength(1);
});

test("a version it cannot read is passed over once the object has a newer one", async () => {
  expectLog(/watching widgets failed/u);
  await reflector[Symbol.asyncDispose]();
  const strict = {
    ...WIDGET,
    parse: (value: unknown): Widget => {
      const widget = WIDGET.parse(value);
      if (widget.spec?.size === 13) throw new WeirError("internal", "planted");
      return widget;
    },
  };
  const log = pino({}, captureLogs());
  const random = new SeededRandom(3);
  reflector = new Reflector({ api: kube, kind: strict, clock, random, log });
  await reflector.synced(never);
  put("before", 13);
  await clock.advance(10_000);
  expect(reflector.get("before")?.spec?.size).toBe(1);
  put("before", 14);
  await clock.advance(60_000);
  expect(reflector.get("before")?.spec?.size).toBe(14);
});

test("a selective one forgets what no longer matches", async () => {
  await reflector[Symbol.asyncDispose]();
  reflector = open({ fieldSelector: "status.node=a" });
  await reflector.synced(never);
  const seed = (node: string): void => {
    kube.seed(WIDGET, { metadata: { name: "w" }, status: { node } });
  };
  seed("a");
  await clock.settle();
  expect(reflector.get("w")).toBeDefined();
  seed("b");
  await clock.settle();
  expect(reflector.get("w")).toBeUndefined();
});

test("when() resolves at the change that satisfies, or at once", async () => {
  const isLarge = (widget: Widget | undefined): boolean => (widget?.spec?.size ?? 0) > 1;
  const found = reflector.when("before", isLarge, never);
  await clock.settle();
  put("other", 5);
  put("before", 2);
  expect((await found)?.spec?.size).toBe(2);
  expect((await reflector.when("before", isLarge, never))?.spec?.size).toBe(2);
  const gone = reflector.when("before", (widget) => widget === undefined, never);
  kube.vanish(WIDGET, { name: "before" });
  expect(await gone).toBeUndefined();
});

test("when() ends with its signal and leaves no listener", async () => {
  await reflector.synced(never);
  using deadline = clock.deadline(1000);
  const waiting = reflector.when("nobody", (widget) => widget !== undefined, deadline);
  const [outcome] = await Promise.all([waiting.catch(codeOf), clock.advance(1000)]);
  expect(outcome).toBe("deadline-exceeded");
});

test("closing before the first list ends those who wait for it", async () => {
  failing.add("list");
  const waiting = open({});
  const synced = waiting.synced(never).catch(codeOf);
  await waiting[Symbol.asyncDispose]();
  expect(await synced).toBe("aborted");
});
