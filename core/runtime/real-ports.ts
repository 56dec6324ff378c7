// The machine's own clock and randomness: the only place that touches them.

import { randomBytes } from "node:crypto";
import type { Clock, Random } from "./ports.ts";
import { deadlineOn, sleepOn } from "./timer-signals.ts";
import type { StartTimer } from "./timer-signals.ts";

/** The longest wait one Node timer can do; longer ones would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const startTimer: StartTimer = (ms, fire) => {
  const timer = setTimeout(fire, Math.min(ms, TIMER_MS_MAX));
  return () => clearTimeout(timer);
};

/** A deadline must not keep a process alive that has nothing else to do. */
const startQuietTimer: StartTimer = (ms, fire) => {
  const timer = setTimeout(fire, Math.min(ms, TIMER_MS_MAX)).unref();
  return () => clearTimeout(timer);
};

export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => sleepOn(startTimer, ms, signal),
  deadline: (ms, parent) => deadlineOn(startQuietTimer, ms, parent),
};

export const realRandom: Random = {
  hex32: () => randomBytes(16).toString("hex"),
  fraction: () => Math.random(),
};
