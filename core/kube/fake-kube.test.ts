// Goal: the fake keeps the port's promise, and its planted faults do what they say. Method: the
// contract suite, then each plant with a watch or call that must feel it.

import { beforeEach, expect, test } from "vitest";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { FakeKube } from "./fake-kube.ts";
import type { FakeCall } from "./fake-kube.ts";
import type { WatchEvent } from "./kube-api.ts";
import { WIDGET, describeKubeContract } from "./kube-contract.ts";
import type { Widget } from "./kube-contract.ts";

const clock = new FakeClock();
const call = { signal: new AbortController().signal };
let kube: FakeKube;
let onCall: (call: FakeCall) => void | Promise<void>;

describeKubeContract("the fake", async () => {
  return new FakeKube({ clock, random: new SeededRandom(1) });
});

beforeEach(() => {
  onCall = () => {};
  kube = new FakeKube({
    clock,
    random: new SeededRandom(1),
    onCall: (call) => onCall(call),
    refuse: (object) => ("forbidden" in object ? "no such field" : undefined),
  });
});

function watchFrom(resourceVersion: string): AsyncIterator<WatchEvent<Widget>> {
  return kube.watch(WIDGET, { resourceVersion }, call);
}

test("a seeded object has its status at once, and a watch hears of it", async () => {
  const events = watchFrom("0");
  const seeded = kube.seed(WIDGET, { metadata: { name: "a" }, status: { node: "n" } });
  expect(seeded.status).toEqual({ node: "n" });
  expect(await events.next()).toMatchObject({ value: { type: "added", object: seeded } });
  kube.vanish(WIDGET, { name: "a" });
  expect(await events.next()).toMatchObject({ value: { type: "deleted" } });
});

test("a forgotten history expires older watches and only those", async () => {
  kube.seed(WIDGET, { metadata: { name: "a" } });
  const { resourceVersion } = kube.seed(WIDGET, { metadata: { name: "b" } }).metadata;
  kube.forgetHistory();
  expect(await watchFrom("1").next()).toEqual({ done: false, value: { type: "expired" } });
  const next = watchFrom(resourceVersion).next();
  await clock.settle();
  kube.sendBookmarks();
  expect(await next).toEqual({
    done: false,
    value: { type: "bookmark", resourceVersion },
  });
});

test("a watch that was ended says so, and one from the same version goes on", async () => {
  const first = watchFrom("0");
  const next = first.next();
  await clock.settle();
  expect(kube.openWatches).toBe(1);
  kube.endWatches();
  expect(await next).toEqual({ done: true, value: undefined });
  expect(kube.openWatches).toBe(0);
  kube.seed(WIDGET, { metadata: { name: "a" } });
  expect(await watchFrom("0").next()).toMatchObject({ value: { type: "added" } });
});

test("a stalled watch holds its events back until it goes on", async () => {
  let isTold = false;
  const next = watchFrom("0").next();
  void next.then(() => {
    isTold = true;
  });
  kube.stallWatches(true);
  kube.seed(WIDGET, { metadata: { name: "a" } });
  await clock.settle();
  expect(isTold).toBe(false);
  kube.stallWatches(false);
  expect(await next).toMatchObject({ value: { type: "added" } });
});

test("a planted fault reaches the caller, and the write does not happen", async () => {
  onCall = ({ verb }) => {
    if (verb === "merge") throw new WeirError("kube-unavailable", "planted");
  };
  kube.seed(WIDGET, { metadata: { name: "a" } });
  const merge = kube.merge(WIDGET, { name: "a" }, { spec: { size: 1 } }, call);
  await expect(merge).rejects.toMatchObject({ code: "kube-unavailable" });
  expect((await kube.get(WIDGET, { name: "a" }, call))?.spec).toBeUndefined();
  expect(kube.calls.map(({ verb }) => verb)).toEqual(["merge", "get"]);
});

test("planted admission refuses", async () => {
  const made = await kube.create(WIDGET, { metadata: { name: "a" }, forbidden: true }, call);
  expect(made).toEqual({ kind: "invalid", message: "no such field" });
});

test("an aborted signal stops every call", async () => {
  const signal = AbortSignal.abort(new WeirError("aborted", "over"));
  await expect(kube.get(WIDGET, { name: "a" }, { signal })).rejects.toThrow("over");
  expect(kube.calls).toEqual([]);
});

test("recorded events are kept in order", async () => {
  const regarding = { apiVersion: "v1", kind: "Widget", name: "a", uid: "u" };
  const event = { regarding, type: "Normal", reason: "Made", note: "n", action: "Make" } as const;
  await kube.record(event, call);
  expect(kube.events).toEqual([event]);
});
