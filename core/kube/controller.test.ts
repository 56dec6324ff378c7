// Goal: every object is reconciled after the start, at its changes, at those of what it depends on
// and from time to time, and a failure comes back. Method: fake server, fake clock, counted runs.

import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { Controller } from "./controller.ts";
import type { ReconcileReport } from "./controller.ts";
import { FakeKube } from "./fake-kube.ts";
import { NODE } from "./kinds.ts";
import { WIDGET } from "./kube-contract.ts";
import { Reflector } from "./reflector.ts";
import type { Outcome } from "./work-queue.ts";

const clock = new FakeClock();
const random = new SeededRandom(1);
const log = pino({}, captureLogs());
let kube: FakeKube;
let stack: AsyncDisposableStack;
let seen: string[];
let reports: ReconcileReport[];
let listsAllowed: boolean;
let reconcile: (key: string, signal: AbortSignal) => Promise<Outcome>;

beforeEach(() => {
  seen = [];
  reports = [];
  listsAllowed = true;
  reconcile = async () => ({ kind: "done" });
  kube = new FakeKube({
    clock,
    random,
    onCall: ({ verb, kind }) => {
      const isHeld = verb === "list" && kind === "Node" && !listsAllowed;
      if (isHeld) throw new WeirError("kube-unavailable", "planted");
    },
  });
  kube.seed(WIDGET, { metadata: { name: "a" } });
  kube.seed(WIDGET, { metadata: { name: "b" } });
  stack = new AsyncDisposableStack();
});

afterEach(async () => {
  await stack.disposeAsync();
  expect(clock.timerCount).toBe(0);
});

async function open(): Promise<Controller> {
  const widgets = stack.use(new Reflector({ api: kube, kind: WIDGET, clock, random, log }));
  const nodes = stack.use(new Reflector({ api: kube, kind: NODE, clock, random, log }));
  const controller = stack.use(
    new Controller({
      name: "widget",
      clock,
      random,
      log,
      concurrency: 4,
      deadlineMs: 1000,
      source: widgets,
      also: [{ source: nodes, keysOf: (node) => (node === "n" ? ["b"] : []) }],
      reconcile: (key, signal) => {
        seen.push(key);
        return reconcile(key, signal);
      },
      onReconciled: (report) => reports.push(report),
    }),
  );
  await clock.settle();
  return controller;
}

test("all at the start, then what changed, then what depends on a change", async () => {
  await open();
  expect(seen).toEqual(["a", "b"]);
  kube.seed(WIDGET, { metadata: { name: "a" }, spec: { size: 1 } });
  await clock.settle();
  expect(seen).toEqual(["a", "b", "a"]);
  kube.seed(NODE, { metadata: { name: "n" } });
  kube.seed(NODE, { metadata: { name: "m" } });
  await clock.settle();
  expect(seen).toEqual(["a", "b", "a", "b"]);
  kube.vanish(WIDGET, { name: "a" });
  await clock.settle();
  expect(seen).toEqual(["a", "b", "a", "b", "a"]);
});

test("nothing before every source is known", async () => {
  expectLog(/watching nodes failed/u);
  listsAllowed = false;
  await open();
  await clock.advance(10_000);
  kube.seed(WIDGET, { metadata: { name: "c" } });
  await clock.settle();
  expect(seen).toEqual([]);
  listsAllowed = true;
  await clock.advance(30_000);
  expect(seen).toEqual(["a", "b", "c"]);
});

test("everything is looked at again within eleven hours", async () => {
  await open();
  await clock.advance(9.9 * 60 * 60_000);
  expect(seen).toHaveLength(2);
  await clock.advance(1.2 * 60 * 60_000);
  expect(seen).toHaveLength(4);
});

test("a throw is logged and tried again; the report says what came of it", async () => {
  expectLog(/a reconcile failed/u);
  reconcile = async (key) => {
    if (key === "a" && reports.length < 3) throw new WeirError("store-unavailable", "planted");
    return { kind: "done" };
  };
  await open();
  await clock.advance(60_000);
  const results = reports.filter(({ key }) => key === "a").map(({ result }) => result);
  expect(results).toEqual(["failed", "failed", "done"]);
});

test("a reconcile that hangs is ended by its deadline", async () => {
  expectLog(/a reconcile failed/u);
  let aborts = 0;
  reconcile = (key, signal) => {
    if (key === "b") return Promise.resolve({ kind: "done" });
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        aborts += 1;
        reject(new WeirError("deadline-exceeded", "planted"));
      });
    });
  };
  await open();
  await clock.advance(1000);
  expect(aborts).toBe(1);
});
