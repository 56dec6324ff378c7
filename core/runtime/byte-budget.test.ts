// Goal: the budget is never exceeded, first come is first served, and nothing is lost by aborts.
// Method: small cases, then random sequences against those three rules.

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ByteBudget } from "./byte-budget.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("what fits is let in at once, what does not waits for room", async () => {
  const budget = new ByteBudget(10);
  const first = await budget.take(6);
  const second = budget.take(5);
  await turn();
  expect(budget.waiting).toBe(1);
  first[Symbol.dispose]();
  const held = await second;
  expect(budget.usedBytes).toBe(5);
  held[Symbol.dispose]();
  held[Symbol.dispose]();
  expect(budget.usedBytes).toBe(0);
});

test("a small one does not overtake a large one", async () => {
  const budget = new ByteBudget(10);
  const first = await budget.take(6);
  const order: string[] = [];
  const large = budget.take(8).then((lease) => {
    order.push("large");
    return lease;
  });
  const small = budget.take(1).then(() => order.push("small"));
  await turn();
  expect(order).toEqual([]);
  first[Symbol.dispose]();
  (await large)[Symbol.dispose]();
  await small;
  expect(order).toEqual(["large", "small"]);
});

test("one larger than the whole budget gets it alone", async () => {
  const budget = new ByteBudget(10);
  const small = await budget.take(1);
  const huge = budget.take(1000);
  await turn();
  expect(budget.waiting).toBe(1);
  small[Symbol.dispose]();
  const held = await huge;
  expect(budget.usedBytes).toBe(10);
  held[Symbol.dispose]();
});

test("one who gives up at the head lets those behind in", async () => {
  const budget = new ByteBudget(10);
  await budget.take(6);
  const controller = new AbortController();
  const large = budget.take(8, { signal: controller.signal });
  const small = budget.take(4);
  controller.abort();
  await expect(large).rejects.toMatchObject({ code: "aborted" });
  await small;
  expect(budget.usedBytes).toBe(10);
});

test("any order of taking, giving back and giving up keeps the rules", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("take" as const), bytes: fc.integer({ min: 0, max: 15 }) }),
    fc.record({ do: fc.constantFrom("free", "abort"), index: fc.nat(20) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const budget = new ByteBudget(10);
      const admitted: number[] = [];
      const given = new Set<number>();
      const leases = new Map<number, Disposable>();
      const callers: AbortController[] = [];
      for (const step of steps) {
        if ("bytes" in step) {
          const number = callers.length;
          const controller = new AbortController();
          callers.push(controller);
          budget.take(step.bytes, { signal: controller.signal }).then(
            (lease) => {
              admitted.push(number);
              leases.set(number, lease);
            },
            () => given.add(number),
          );
        } else if (step.do === "abort") callers[step.index]?.abort();
        else leases.get(step.index)?.[Symbol.dispose]();
        await turn();
        expect(budget.usedBytes).toBeLessThanOrEqual(10);
        expect(admitted).toEqual(admitted.toSorted((a, b) => a - b));
      }
      // Freeing what is held lets everyone in who did not give up.
      while (admitted.length + given.size < callers.length) {
        for (const lease of leases.values()) lease[Symbol.dispose]();
        await turn();
      }
      for (const lease of leases.values()) lease[Symbol.dispose]();
      expect([budget.usedBytes, budget.waiting]).toEqual([0, 0]);
    }),
    { numRuns: 200 },
  );
});
