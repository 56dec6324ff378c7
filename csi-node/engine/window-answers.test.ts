// Goal: no answer reaches a volume while it may change hands, nor after; all reach one that stays.
// Method: a volume that counts its answers.
import { expect, test } from "vitest";

import { WindowAnswers } from "./window-answers.ts";

function countedAnswers() {
  const seen: string[] = [];
  const answers = new WindowAnswers({
    completeFetch: async (fetch) => seen.push(`frame ${fetch}`) > 0,
    retryFetch: async (fetch) => void seen.push(`retry ${fetch}`),
    completeChunk: async (chunk) => seen.push(`chunk ${chunk}`) > 0,
  });
  return { seen, answers };
}

const BYTES = new Uint8Array(1);

test("answers in the window wait, and reach a volume that stays", async () => {
  const { seen, answers } = countedAnswers();
  await answers.completeFetch(1, BYTES);
  answers.hold();
  const late = [
    ...[answers.completeFetch(2, BYTES), answers.retryFetch(3)],
    answers.completeChunk(4, BYTES),
  ];
  await Promise.resolve();
  expect(seen).toEqual(["frame 1"]);
  answers.letGo("kept");
  await Promise.all(late);
  expect(seen).toEqual(["frame 1", "frame 2", "retry 3", "chunk 4"]);
});

test("answers for a volume that is gone are dropped, and look like good ones", async () => {
  const { seen, answers } = countedAnswers();
  answers.hold();
  const late = answers.completeFetch(1, BYTES);
  answers.letGo("gone");
  expect(await late).toBe(true);
  expect(await answers.completeChunk(2, BYTES)).toBe(true);
  await answers.retryFetch(3);
  expect(seen).toEqual([]);
});
