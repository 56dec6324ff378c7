// What two engines of a node say to each other around the window of a handoff: one JSON object per
// message of the socket, told apart by `kind`. PROTOCOL.md is the specification.
//
// Rules of change: fields that are not known are ignored, so a new one that may be absent needs no
// new version; a new kind, or a change of meaning, does. `hello`, `hello-ack` and `refuse` keep
// their shape for ever: two versions talk in them before they know each other's.
import { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";
import { asEpoch, asNonce, asSeq, asVolumeUid } from "../../core/runtime/ids.ts";
import { volumePolicySchema } from "../engine/config.ts";
import { HANDOFF_MESSAGE_BYTES_MAX } from "../engine/handoff-port.ts";

/** Of the first pair of shapes; what this build speaks. */
export const VERSION_MIN = 1;
export const VERSION_MAX = 2;
/** The first version with `warming`. */
export const VERSION_WITH_PROGRESS = 2;

/** What both sides must be able to do. The window's own messages are the engine's (native). */
const REQUIRED: readonly string[] = ["window-1"];
/** A successor that takes volumes batch after batch; another one gets all of them at once. */
export const IN_BATCHES = "window-batches";
export const CAPABILITIES: readonly string[] = [...REQUIRED, IN_BATCHES];

const count = z.int().min(0);
const hex32 = z.string().regex(/^[0-9a-f]{32}$/u);
const text = z.string().max(1_000);
const version = z.int().min(1);
const position = z.object({ epoch: count.transform(asEpoch), seq: count.transform(asSeq) });

const transport = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("nbd"), socketPath: z.string(), exportName: z.string() }),
  z.object({ kind: z.literal("ublk"), deviceId: count, depth: z.int().min(1) }),
]);

/** One volume, as the successor must load it. */
const warmOrder = z.object({
  uid: hex32.transform(asVolumeUid),
  name: z.string().min(1).max(253),
  policy: volumePolicySchema,
  transport,
  /** The predecessor writes with it, and the successor goes on with it until it claims its own. */
  epoch: count.transform(asEpoch),
  /** Where the log stands, exactly: nothing is uploaded until the handoff ends. */
  committed: position,
  journalId: hex32.transform(asNonce),
});
export type WarmOrder = z.output<typeof warmOrder>;

const hello = z.object({
  kind: z.literal("hello"),
  min: version,
  max: version,
  /** The version of the software, for people. */
  build: text,
  capabilities: z.array(text),
  /** Ends when everything is warm. */
  dryRun: z.boolean(),
});

const helloAck = z.object({
  kind: z.literal("hello-ack"),
  version,
  build: text,
  capabilities: z.array(text),
  /** The predecessor's; the successor's is the next. */
  generation: z.int().min(1),
});

const refuse = z.object({
  kind: z.literal("refuse"),
  reason: text,
  min: version,
  max: version,
});

/** One page of the list. */
const warm = z.object({
  kind: z.literal("warm"),
  volumes: z.array(warmOrder),
  last: z.boolean(),
});

const warming = z.object({ kind: z.literal("warming"), loaded: count, of: count });
const warmReady = z.object({ kind: z.literal("warm-ready"), volumes: count });
const freeze = z.object({
  kind: z.literal("freeze"),
  generation: z.int().min(1),
  deadlineMs: z.int().min(1),
});
const serving = z.object({ kind: z.literal("serving"), generation: z.int().min(1) });
const done = z.object({ kind: z.literal("done") });
/** Before the window, by either; the predecessor goes on as before. */
const abort = z.object({ kind: z.literal("abort"), reason: text });

const messageSchema = z.discriminatedUnion("kind", [
  hello,
  helloAck,
  refuse,
  warm,
  warming,
  warmReady,
  freeze,
  serving,
  done,
  abort,
]);
export type Message = z.output<typeof messageSchema>;
export type Hello = z.output<typeof hello>;

const KINDS: ReadonlySet<string> = new Set(
  messageSchema.options.map(({ shape }) => shape.kind.value),
);

export function encodeMessage(message: Message): Uint8Array {
  return Buffer.from(JSON.stringify(message), "utf8");
}

/** null: of a kind that this build does not know, which a newer peer may send. */
export function decodeMessage(bytes: Uint8Array): Message | null {
  const parsed = messageSchema.safeParse(parseJson(bytes));
  if (parsed.success) return parsed.data;
  const { kind } = z.object({ kind: z.string() }).catch({ kind: "" }).parse(parseJson(bytes));
  if (kind !== "" && !KINDS.has(kind)) return null;
  throw new WeirError(
    "invalid-argument",
    "the other engine sent a handoff message that was not understood",
    { details: { kind }, cause: parsed.error },
  );
}

/** The highest version that both speak; null when there is none. */
export function negotiate(theirs: { readonly min: number; readonly max: number }): number | null {
  const highest = Math.min(theirs.max, VERSION_MAX);
  return highest >= Math.max(theirs.min, VERSION_MIN) ? highest : null;
}

/** A capability that we need and they lack. */
export function missingCapability(theirs: readonly string[]): string | undefined {
  return REQUIRED.find((capability) => !theirs.includes(capability));
}

/** The list of volumes in as many messages as it takes; one with nothing when there are none. */
export function warmPages(orders: readonly WarmOrder[]): readonly Message[] {
  const pages: WarmOrder[][] = [[]];
  let bytes = 0;
  for (const order of orders) {
    const own = encodeMessage({ kind: "warm", volumes: [order], last: true }).length;
    if (bytes + own > HANDOFF_MESSAGE_BYTES_MAX) {
      pages.push([]);
      bytes = 0;
    }
    pages.at(-1)?.push(order);
    bytes += own;
  }
  return pages.map((volumes, index) => ({
    kind: "warm",
    volumes,
    last: index === pages.length - 1,
  }));
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}

/** What both state machines hear of the other engine. */
export type PeerEvent =
  | { readonly kind: "message"; readonly message: Message }
  /** What came was no message of this protocol. */
  | { readonly kind: "garbage" }
  /** The socket ended; whether the process behind it lives. */
  | { readonly kind: "closed"; readonly peerAlive: boolean };
