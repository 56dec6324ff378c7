// Goal: who sees only the end of a run learns which tests failed. Method: logs as the programs
// write them.
import { expect, test } from "vitest";
import { failuresIn } from "./told.ts";

test("vitest: the test and what was expected, without colours", () => {
  const log =
    "\u001B[32m ✓\u001B[39m fine\n\u001B[41m FAIL \u001B[49m |unit| a.test.ts > b\nExpected 1\n";
  expect(failuresIn(log)).toStrictEqual([" FAIL  |unit| a.test.ts > b", "Expected 1"]);
});

test("checks of a guest: what follows belongs to it, what went before does not", () => {
  expect(failuresIn("ok a\nnot ok b: status 1\nwhy\n")).toStrictEqual([
    "not ok b: status 1",
    "why",
  ]);
  expect(failuresIn("ok a\nno end within 1200 s\n")).toStrictEqual(["no end within 1200 s"]);
});

test("native tests", () => {
  expect(failuresIn("[       OK ] A.b\n[  FAILED  ] A.c (1 ms)\n")).toStrictEqual([
    "[  FAILED  ] A.c (1 ms)",
  ]);
});

test("a log that names nothing: its end; a long one: not all of it", () => {
  expect(failuresIn(`${"x\n".repeat(100)}Segmentation fault\n`).at(-1)).toBe("Segmentation fault");
  expect(failuresIn("not ok a\n".repeat(1000)).length).toBe(60);
});
