// Goal: changes and a handoff never overlap, and nobody waits for ever. Method: changes that end
// when the test says so, on a fake clock.
import { expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { ChangeGate } from "./change-gate.ts";

const { signal } = new AbortController();

/** Whether it has settled by now. */
async function isSettled(work: Promise<unknown>, clock: FakeClock): Promise<boolean> {
  let settled = false;
  const watch = (): void => {
    settled = true;
  };
  work.then(watch, watch);
  await clock.settle();
  return settled;
}

test("closing waits for the changes under way; later ones wait for the opening", async () => {
  const clock = new FakeClock();
  const gate = new ChangeGate(clock);
  const slow = Promise.withResolvers<void>();
  const first = gate.pass(signal, () => slow.promise);
  const closed = gate.close(signal);
  let began = false;
  const second = gate.pass(signal, async () => {
    began = true;
    return "done";
  });
  expect(await isSettled(closed, clock)).toBe(false);
  slow.resolve();
  await first;
  await closed;
  expect(await isSettled(second, clock)).toBe(false);
  expect(began).toBe(false);
  gate.open("open");
  expect(await second).toBe("done");
  expect(gate.isClosed).toBe(false);
});

test("after a handover whoever waited or comes later is sent to the new engine", async () => {
  const clock = new FakeClock();
  const gate = new ChangeGate(clock);
  await gate.close(signal);
  const waiting = gate.pass(signal, async () => "done");
  gate.open("handed-over");
  await expect(waiting).rejects.toMatchObject({ code: "engine-unavailable" });
  await expect(gate.pass(signal, async () => "done")).rejects.toMatchObject({
    code: "engine-unavailable",
  });
});

test("a change does not wait longer than a minute, nor longer than its caller", async () => {
  const clock = new FakeClock();
  const gate = new ChangeGate(clock);
  await gate.close(signal);
  const caller = new AbortController();
  const impatient = gate.pass(caller.signal, async () => "done");
  const patient = gate.pass(signal, async () => "done");
  caller.abort();
  await expect(impatient).rejects.toMatchObject({ code: "aborted" });
  const outcome = patient.catch((cause: unknown) => cause);
  await clock.advance(60_000);
  expect(await outcome).toMatchObject({ code: "deadline-exceeded" });
  expect(clock.timerCount).toBe(0);
});

test("closing gives up with its signal when a change does not end", async () => {
  const gate = new ChangeGate(new FakeClock());
  const stuck = Promise.withResolvers<void>();
  const change = gate.pass(signal, () => stuck.promise);
  const caller = new AbortController();
  const closed = gate.close(caller.signal);
  caller.abort();
  await expect(closed).rejects.toMatchObject({ code: "aborted" });
  gate.open("open");
  stuck.resolve();
  await change;
});
