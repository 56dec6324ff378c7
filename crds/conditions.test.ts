// Goal: writing what already holds changes nothing, so that no reconciler wakes itself; a change of
// the status, and only that, moves the time of transition. Method: one condition through its life.
import { expect, it } from "vitest";
import { findCondition, hasCondition, nextCondition, type Condition } from "./conditions.ts";

const at = (minute: number): string => `2026-01-01T00:0${minute}:00Z`;
const ready: Condition = {
  type: "Ready",
  status: "True",
  reason: "Created",
  message: "the volume is in the bucket",
  lastTransitionTime: at(1),
  observedGeneration: 1,
};

function next(changes: Partial<Condition>): Condition {
  const { lastTransitionTime: _time, ...content } = ready;
  return nextCondition({ present: [ready], content: { ...content, ...changes }, now: at(2) });
}

it("keeps the entry when nothing changed", () => {
  expect(next({})).toEqual(ready);
});

it("keeps the time when only reason, message or generation changed", () => {
  const changed = next({ reason: "Found", message: "it was there", observedGeneration: 2 });
  expect(changed).toMatchObject({ reason: "Found", observedGeneration: 2 });
  expect(changed.lastTransitionTime).toBe(at(1));
});

it("moves the time with the status, and for a type that is new", () => {
  expect(next({ status: "False" }).lastTransitionTime).toBe(at(2));
  expect(next({ type: "Attached" }).lastTransitionTime).toBe(at(2));
});

it("finds conditions by type, and tells False from absent", () => {
  expect(findCondition([ready], "Ready")).toBe(ready);
  expect(findCondition(undefined, "Ready")).toBeUndefined();
  expect(hasCondition([ready], { type: "Ready", status: "True" })).toBe(true);
  expect(hasCondition([ready], { type: "Attached", status: "False" })).toBe(false);
});
