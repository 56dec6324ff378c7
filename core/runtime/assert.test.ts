// Goal: broken promises of the code end as `internal` faults. Method: small cases.

import { expect, test } from "vitest";
import { assert, unreachable } from "./assert.ts";

test("assert passes what holds and throws what does not, with its details", () => {
  assert(true, "one is one");
  expect(() => assert(false, "sizes agree", { size: 3 })).toThrow(
    expect.objectContaining({
      code: "internal",
      message: "a promise of the code is broken: sizes agree",
      details: { size: 3 },
    }),
  );
});

test("unreachable names the value that should not be", () => {
  const values: never[] = [];
  Reflect.set(values, 0, { kind: "new" });
  expect(() => values.forEach(unreachable)).toThrow(
    expect.objectContaining({ code: "internal", details: { value: '{"kind":"new"}' } }),
  );
});
