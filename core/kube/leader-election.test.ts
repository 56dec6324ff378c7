// Goal: there is never more than one leader, and soon one again when the leader goes. Method: the
// fake server and clock; candidates whose link to the server the test cuts or hangs; and seeded
// runs of random trouble in which the leaders are counted at every step.

import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { WeirError } from "../runtime/errors.ts";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { FakeKube } from "./fake-kube.ts";
import { LEASE } from "./kinds.ts";
import type { KubeCall } from "./kube-api.ts";
import { becomeLeader } from "./leader-election.ts";
import type { ElectionApi, Leadership } from "./leader-election.ts";

type Link = "up" | "cut" | "hung" | "answers lost";

const lease = { namespace: "weir", name: "weir-operator" };
const call = { signal: new AbortController().signal };
let clock: FakeClock;
let kube: FakeKube;

beforeEach(() => {
  clock = new FakeClock();
  kube = new FakeKube({ clock, random: new SeededRandom(1) });
});

class Candidate {
  link: Link = "up";
  leadership: Leadership | undefined;
  readonly stop = new AbortController();
  readonly done: Promise<void>;

  constructor(identity: string, seed: number) {
    const options = {
      api: this.#api(),
      clock,
      random: new SeededRandom(seed),
      log: pino({}, captureLogs()),
      lease,
      identity,
    };
    this.done = becomeLeader(options, this.stop.signal).then(
      (leadership) => {
        this.leadership = leadership;
      },
      () => {},
    );
  }

  get leads(): boolean {
    return this.leadership !== undefined && !this.leadership.lost.aborted;
  }

  #api(): ElectionApi {
    return {
      get: (kind, ref, call) => this.#through(call, () => kube.get(kind, ref, call)),
      create: (kind, object, call) => this.#through(call, () => kube.create(kind, object, call)),
      merge: (kind, ref, patch, call) =>
        this.#through(call, () => kube.merge(kind, ref, patch, call)),
    };
  }

  async #through<T>(call: KubeCall, work: () => Promise<T>): Promise<T> {
    if (this.link === "cut") throw new WeirError("kube-unavailable", "planted");
    if (this.link === "hung") await clock.sleep(3_600_000, call.signal);
    const result = await work();
    if (this.link === "answers lost") throw new WeirError("kube-unavailable", "planted");
    return result;
  }
}

test("the first leads at once, the second when the first gives the Lease back", async () => {
  const first = new Candidate("first", 1);
  await clock.settle();
  expect(first.leadership?.term).toBe(0);
  const second = new Candidate("second", 2);
  await clock.advance(60_000);
  expect([first.leads, second.leads]).toEqual([true, false]);
  await first.leadership?.[Symbol.asyncDispose]();
  expect(first.leads).toBe(false);
  await clock.advance(2500);
  expect(second.leadership?.term).toBe(1);
  await second.leadership?.[Symbol.asyncDispose]();
  expect(clock.timerCount).toBe(0);
});

test.each<Link>(["cut", "hung"])(
  "a leader whose link is %s stops before the next one begins",
  async (link) => {
    if (link === "cut" || link === "hung") expectLog(/was not renewed/u);
    const first = new Candidate("first", 1);
    const second = new Candidate("second", 2);
    await clock.advance(30_000);
    expect([first.leads, second.leads]).toEqual([true, false]);
    first.link = link;
    await clock.advance(10_000);
    expect([first.leads, second.leads]).toEqual([false, false]);
    await clock.advance(10_000);
    expect(second.leadership?.term).toBe(1);
    await second.leadership?.[Symbol.asyncDispose]();
  },
);

test("answers that get lost for a while do not cost the leadership", async () => {
  expectLog(/was not renewed/u);
  const first = new Candidate("first", 1);
  await clock.advance(10_000);
  for (let round = 0; round < 5; round += 1) {
    first.link = "answers lost";
    await clock.advance(5000);
    first.link = "up";
    await clock.advance(5000);
  }
  expect(first.leads).toBe(true);
  await first.leadership?.[Symbol.asyncDispose]();
});

test("a leader that finds another in the Lease stops at once", async () => {
  const first = new Candidate("first", 1);
  await clock.advance(10_000);
  await kube.merge(LEASE, lease, { spec: { holderIdentity: "thief" } }, call);
  await clock.advance(2500);
  expect(first.leads).toBe(false);
});

test("clocks that differ do not matter: what counts is that nothing changes", async () => {
  const old = { holderIdentity: "dead", leaseDurationSeconds: 15, leaseTransitions: 6 };
  const spec = { ...old, renewTime: "1999-01-01T00:00:00.000000Z" };
  kube.seed(LEASE, { metadata: lease, spec });
  const candidate = new Candidate("next", 1);
  await clock.advance(14_900);
  expect(candidate.leads).toBe(false);
  clock.jumpWall(3_600_000);
  await clock.advance(3000);
  expect(candidate.leadership?.term).toBe(7);
  await candidate.leadership?.[Symbol.asyncDispose]();
});

test("a candidate that is called off stops asking", async () => {
  kube.seed(LEASE, { metadata: lease, spec: { holderIdentity: "other" } });
  const candidate = new Candidate("next", 1);
  await clock.advance(1000);
  candidate.stop.abort();
  await candidate.done;
  expect(clock.timerCount).toBe(0);
});

test.each(Array.from({ length: 25 }, (_, index) => index + 1))(
  "seed %i: in random trouble there is never a second leader, and afterwards one",
  async (seed) => {
    expectLog(/./u);
    const random = new SeededRandom(seed);
    const links: readonly Link[] = ["up", "up", "cut", "hung", "answers lost"];
    const all: Candidate[] = [new Candidate("c0", seed * 100), new Candidate("c1", seed * 100 + 1)];
    const terms = new Set<number>();
    for (let step = 0; step < 120; step += 1) {
      await clock.advance(random.integer(4000));
      const leaders = all.filter((candidate) => candidate.leads);
      expect(leaders.length, `leaders at step ${step}`).toBeLessThanOrEqual(1);
      for (const { leadership } of leaders)
        if (leadership !== undefined) terms.add(leadership.term);
      for (const candidate of all) {
        if (random.integer(3) === 0) candidate.link = links[random.integer(links.length)] ?? "up";
      }
      const alive = all.filter(({ leadership }) => leadership?.lost.aborted !== true);
      if (alive.length < 2) all.push(new Candidate(`c${all.length}`, seed * 100 + all.length));
    }
    for (const candidate of all) candidate.link = "up";
    await clock.advance(60_000);
    expect(all.filter((candidate) => candidate.leads)).toHaveLength(1);
    const inOrder = all.flatMap(({ leadership }) => leadership?.term ?? []);
    expect(new Set(inOrder).size).toBe(inOrder.length);
    for (const candidate of all) candidate.stop.abort();
    for (const { leadership } of all) await leadership?.[Symbol.asyncDispose]();
  },
);
