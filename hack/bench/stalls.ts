// The longest request around each handoff, from what stall-load and the engines wrote.

/** When a request was sent and answered, or a handoff began and ended: nanoseconds of the guest. */
export interface Span {
  readonly beginNs: number;
  readonly endNs: number;
}

/** By the number of the device. */
export type Requests = readonly (readonly Span[])[];

export interface Windows {
  readonly base: Span;
  /** Of each handoff the windows of all devices, by the number of the device. */
  readonly handoffs: readonly (readonly Span[])[];
}

/** What waited for the device is answered a little after it serves again. */
const AFTER_NS = 2_000_000;

/** Lines `device sent answered`. */
export function readRequests(text: string): Requests {
  const requests: Span[][] = [];
  for (const [device, beginNs, endNs] of numbersOf(text)) {
    (requests[device] ??= []).push({ beginNs, endNs });
  }
  return requests;
}

/**
 * Lines `base begin end` and `device begin end`, those of a handoff together from device 0 on; the
 * handoffs in any order, as of files by their names. Sorted by time here.
 */
export function readWindows(text: string): Windows {
  const [first = "", ...rest] = text.trim().split("\n");
  const [word, beginNs, endNs] = first.split(" ");
  if (word !== "base") throw new Error(`the first window is not the base: ${first}`);
  const handoffs: Span[][] = [];
  for (const [device, begin, end] of numbersOf(rest.join("\n"))) {
    if (device === 0) handoffs.push([]);
    handoffs.at(-1)?.push({ beginNs: begin, endNs: end });
  }
  handoffs.sort(([one], [other]) => (one?.beginNs ?? 0) - (other?.beginNs ?? 0));
  return { base: { beginNs: Number(beginNs), endNs: Number(endNs) }, handoffs };
}

/** Milliseconds of the longest request that was open at any moment of the span, on any device. */
export function worstIn(requests: Requests, span: Span): number {
  return Math.max(...requests.map((of) => longest(of, span)));
}

/** For each handoff the longest request on any device around that device's window. */
export function stallsOf(requests: Requests, handoffs: Windows["handoffs"]): readonly number[] {
  return handoffs.map((windows) =>
    Math.max(
      ...windows.map(({ beginNs, endNs }, device) =>
        longest(requests[device] ?? [], { beginNs, endNs: endNs + AFTER_NS }),
      ),
    ),
  );
}

/**
 * Requests that were open from before the end of a window of their device to after the begin of the
 * next one: they waited for that handoff to bring them along, and without it would wait still.
 */
export function forgottenIn(requests: Requests, handoffs: Windows["handoffs"]): number {
  let forgotten = 0;
  handoffs.slice(1).forEach((windows, before) => {
    windows.forEach(({ beginNs: nextNs }, device) => {
      const endNs = handoffs[before]?.[device]?.endNs ?? 0;
      const open = requests[device]?.filter((one) => one.beginNs <= endNs && one.endNs >= nextNs);
      forgotten += open?.length ?? 0;
    });
  });
  return forgotten;
}

function longest(requests: readonly Span[], span: Span): number {
  let longestNs = 0;
  for (const { beginNs, endNs } of requests) {
    if (beginNs <= span.endNs && endNs >= span.beginNs) {
      longestNs = Math.max(longestNs, endNs - beginNs);
    }
  }
  return longestNs / 1e6;
}

function numbersOf(text: string): [number, number, number][] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [device, begin, end] = line.split(" ").map(Number);
      if (device === undefined || begin === undefined || end === undefined) {
        throw new Error(`a line without three numbers: ${line}`);
      }
      return [device, begin, end];
    });
}
