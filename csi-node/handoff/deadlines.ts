// How long each state of a handoff may last, in milliseconds. Both sides read this one table, and
// the one that waits for the other is always the more patient, so that the reason for a failure
// comes from the side that knows it.

export const DEADLINES_MS = {
  /** A connection without its first message. */
  greeting: 5_000,
  /** Uploads and control calls under way end. */
  settling: 30_000,
  /** The successor loads the volumes; each sign of progress begins it anew (version 2). */
  warming: 60_000,
  /** The window itself, inside the engine. */
  window: 5_000,
  /** The window's call answers after its own deadline, plus a revival. */
  windowAnswer: 20_000,
  /** All devices are served: the successor's own affairs until it says so. */
  given: 30_000,
  /** Sockets, sessions and the engine of the predecessor are closed. */
  releasing: 60_000,
  /** The successor is killed, and the next generation claimed. */
  reclaiming: 30_000,
  /** The successor: from its greeting to the answer. */
  answer: 10_000,
  /** The successor: from the answer to the list, which is the predecessor's settling. */
  list: 40_000,
  /** The successor: from ready to the window's beginning. */
  freeze: 15_000,
  /** The successor: the volumes taken get their sessions. */
  adopting: 20_000,
  /** The successor: the predecessor closes what it has; nothing depends on it. */
  farewell: 70_000,
} as const;

/** Signs of progress that are waited for: the warm phase has an end, however busy it looks. */
export const WARMING_RENEWALS_MAX = 20;
