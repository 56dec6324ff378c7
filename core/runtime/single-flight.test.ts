// Goal: the same work runs once for all who want it now, and stops when nobody wants it any more.
// Method: work that the test finishes by hand.

import { expect, test } from "vitest";
import { WeirError } from "./errors.ts";
import { SingleFlight } from "./single-flight.ts";

function handmade(): {
  work: (signal: AbortSignal) => Promise<string>;
  starts: AbortSignal[];
  finish: PromiseWithResolvers<string>;
} {
  const starts: AbortSignal[] = [];
  const finish = Promise.withResolvers<string>();
  const work = (signal: AbortSignal): Promise<string> => {
    starts.push(signal);
    return finish.promise;
  };
  return { work, starts, finish };
}

test("callers at the same time share one run; a later one starts anew", async () => {
  const flights = new SingleFlight<string, string>();
  const { work, starts, finish } = handmade();
  const waits = [flights.run("a", work), flights.run("a", work), flights.run("a", work)];
  expect(flights.size).toBe(1);
  finish.resolve("done");
  expect(await Promise.all(waits)).toEqual(["done", "done", "done"]);
  expect(starts).toHaveLength(1);
  expect(flights.size).toBe(0);
  await flights.run("a", work);
  expect(starts).toHaveLength(2);
});

test("different keys do not wait for each other", async () => {
  const flights = new SingleFlight<string, string>();
  const never = handmade();
  void flights.run("slow", never.work);
  const fast = handmade();
  fast.finish.resolve("fast");
  expect(await flights.run("fast", fast.work)).toBe("fast");
});

test("a failure reaches all, and the next caller tries again", async () => {
  const flights = new SingleFlight<string, string>();
  const { work, finish } = handmade();
  const waits = [flights.run("a", work), flights.run("a", work)];
  finish.reject(new Error("no luck"));
  for (const wait of waits) await expect(wait).rejects.toThrow("no luck");
  const again = handmade();
  again.finish.resolve("better");
  expect(await flights.run("a", again.work)).toBe("better");
});

test("one who leaves does not disturb the others; the last one ends the work", async () => {
  const flights = new SingleFlight<string, string>();
  const { work, starts } = handmade();
  const callers = [new AbortController(), new AbortController()];
  const waits = callers.map(({ signal }) => flights.run("a", work, { signal }));
  const reason = new WeirError("fenced", "the test ends it");
  callers[0]?.abort(reason);
  await expect(waits[0]).rejects.toBe(reason);
  expect(starts[0]?.aborted).toBe(false);
  callers[1]?.abort(reason);
  await expect(waits[1]).rejects.toBe(reason);
  expect(starts[0]?.aborted).toBe(true);
  expect(flights.size).toBe(0);
});

test("a caller who has left already starts nothing", async () => {
  const flights = new SingleFlight<string, string>();
  const { work, starts } = handmade();
  const signal = AbortSignal.abort();
  await expect(flights.run("a", work, { signal })).rejects.toMatchObject({ code: "aborted" });
  expect(starts).toHaveLength(0);
});
