// The predecessor's side of a handoff as a pure function: state and event give the next state and
// what to do. No I/O, no time: PredecessorDriver brings both.
//
// Invariants: the volumes are served here (`isOwner`) in every state but `given` on; the way back
// to `serving` is open until the window answers `given` or `lost`; from there it leads over a
// generation of its own, which only one process can create. What a `lost` window never passed is
// served here all the time. Every state but the two homes
// (`serving`, `idle`) is entered with a deadline.
import { VERSION } from "../../core/runtime/version.ts";
import type { GiveOutcome } from "../engine/handoff-port.ts";
import { DEADLINES_MS, WARMING_RENEWALS_MAX } from "./deadlines.ts";
import {
  CAPABILITIES,
  type Hello,
  IN_BATCHES,
  type Message,
  missingCapability,
  negotiate,
  type PeerEvent,
  VERSION_MAX,
  VERSION_MIN,
} from "./messages.ts";

interface Talk {
  readonly version: number;
  readonly dryRun: boolean;
  /** The successor takes volumes batch after batch. */
  readonly inBatches: boolean;
}

/** How the socket ended while the engine had it. */
type Cut = "no" | "peer-alive" | "peer-dead";

export type PredecessorState =
  /** Home: no handoff is under way. */
  | { readonly name: "serving"; readonly generation: number }
  /** Somebody connected and has not said who. */
  | { readonly name: "greeting"; readonly generation: number }
  /** Nothing new begins; what is under way ends. */
  | { readonly name: "settling"; readonly generation: number; readonly talk: Talk }
  /** The successor loads. */
  | {
      readonly name: "warming";
      readonly generation: number;
      readonly talk: Talk;
      readonly renewals: number;
    }
  /** The engine hands over; it decides alone. What is heard meanwhile counts after its answer. */
  | {
      readonly name: "window";
      readonly generation: number;
      readonly cut: Cut;
      /** The successor's word that it is complete came before the engine's own answer. */
      readonly said: boolean;
    }
  /** Everything is served by the successor, which has not said that it is complete. */
  | { readonly name: "given"; readonly generation: number }
  /** Closing what is left here; `polite`: the successor waits for word of it. */
  | {
      readonly name: "releasing";
      readonly outcome: "given" | "lost";
      readonly polite: boolean;
    }
  /** The successor owned everything and is gone: whoever creates the next generation recovers. */
  | { readonly name: "reclaiming"; readonly generation: number; readonly reason: string }
  /** Home: another process serves. Waits for SIGTERM. */
  | { readonly name: "idle" };

export type PredecessorEvent =
  | { readonly kind: "connected" }
  | PeerEvent
  | { readonly kind: "deadline" }
  | { readonly kind: "settled" }
  | { readonly kind: "unsettled"; readonly reason: string }
  /** Uploads must go on: too much is dirty. */
  | { readonly kind: "pressure"; readonly reason: string }
  | { readonly kind: "gave"; readonly outcome: GiveOutcome }
  | { readonly kind: "released" }
  | { readonly kind: "reclaimed"; readonly generation: number }
  /** Another process created the next generation first. */
  | { readonly kind: "overtaken" }
  /** This process was told to end. */
  | { readonly kind: "stop" };

type Outcome = "given" | "kept" | "recovered" | "lost" | "dry-run";

export type PredecessorAction =
  | { readonly do: "arm"; readonly ms: number }
  | { readonly do: "disarm" }
  | { readonly do: "send"; readonly message: Message }
  | { readonly do: "calm" }
  /** Ends the calm: uploads, checkpoints and control calls go on. */
  | { readonly do: "resume" }
  | { readonly do: "send-orders" }
  | { readonly do: "give"; readonly generation: number; readonly inBatches: boolean }
  | { readonly do: "release" }
  /** Kill the successor, create `generation`, recover what it had. */
  | { readonly do: "reclaim"; readonly generation: number }
  | { readonly do: "close" }
  | { readonly do: "report"; readonly outcome: Outcome; readonly reason?: string }
  /** What this process holds is not known any more: a fresh one recovers. */
  | { readonly do: "die"; readonly reason: string };

export interface PredecessorStep {
  readonly state: PredecessorState;
  readonly actions: readonly PredecessorAction[];
}

const SUCCESSOR_DIED = "the successor died after it took over";
const SUCCESSOR_HANGS = "the successor took over and did not go on in time";

export function isOwner(state: PredecessorState): boolean {
  return ["serving", "greeting", "settling", "warming", "window"].includes(state.name);
}

export function stepPredecessor(state: PredecessorState, event: PredecessorEvent): PredecessorStep {
  switch (state.name) {
    case "serving":
      return inServing(state, event);
    case "greeting":
      return inGreeting(state, event);
    case "settling":
      return inSettling(state, event);
    case "warming":
      return inWarming(state, event);
    case "window":
      return inWindow(state, event);
    case "given":
      return inGiven(state, event);
    case "releasing":
      return inReleasing(state, event);
    case "reclaiming":
      return inReclaiming(state, event);
    case "idle":
      break;
  }
  return stay(state);
}

type In<Name> = Extract<PredecessorState, { name: Name }>;

function inServing(state: In<"serving">, event: PredecessorEvent): PredecessorStep {
  if (event.kind !== "connected") return stay(state);
  const { generation } = state;
  return { state: { name: "greeting", generation }, actions: [arm("greeting")] };
}

function inGreeting(state: In<"greeting">, event: PredecessorEvent): PredecessorStep {
  const { generation } = state;
  if (event.kind === "message" && event.message.kind === "hello") {
    const { message } = event;
    const version = negotiate(message);
    const refusal = refusalOf(message, version);
    if (version === null || refusal !== undefined) {
      const reason = refusal ?? "no common version";
      const refuse = { kind: "refuse", reason, min: VERSION_MIN, max: VERSION_MAX } as const;
      return back(state, { outcome: "kept", reason, first: [send(refuse)] });
    }
    const ack = { version, build: VERSION, capabilities: [...CAPABILITIES], generation };
    const { capabilities, dryRun } = message;
    const talk = { version, dryRun, inBatches: capabilities.includes(IN_BATCHES) };
    return {
      state: { name: "settling", generation, talk },
      actions: [arm("settling"), send({ kind: "hello-ack", ...ack }), { do: "calm" }],
    };
  }
  // A port scan or a probe; nothing began, so there is nothing to tell of.
  const ended = endOf(event);
  if (ended !== undefined) return back(state, {});
  return stay(state);
}

function refusalOf(hello: Hello, version: number | null): string | undefined {
  if (version === null) {
    return (
      `this engine speaks versions ${VERSION_MIN} to ${VERSION_MAX} of the handoff, the other ` +
      `${hello.min} to ${hello.max}: upgrade by way of a release between them`
    );
  }
  const missing = missingCapability(hello.capabilities);
  return missing === undefined ? undefined : `the other engine lacks "${missing}"`;
}

function inSettling(state: In<"settling">, event: PredecessorEvent): PredecessorStep {
  if (event.kind === "settled") {
    const { generation, talk } = state;
    return {
      state: { name: "warming", generation, talk, renewals: 0 },
      actions: [arm("warming"), { do: "send-orders" }],
    };
  }
  if (event.kind === "unsettled") return calledOff(state, event.reason);
  if (event.kind === "deadline") {
    return calledOff(state, "uploads or changes under way here did not end in time");
  }
  const ended = endOf(event);
  return ended === undefined ? stay(state) : calledOff(state, ended);
}

function inWarming(state: In<"warming">, event: PredecessorEvent): PredecessorStep {
  const { generation, talk, renewals } = state;
  const kind = event.kind === "message" ? event.message.kind : undefined;
  if (kind === "warming" && renewals < WARMING_RENEWALS_MAX) {
    return { state: { ...state, renewals: renewals + 1 }, actions: [arm("warming")] };
  }
  if (kind === "warm-ready" && talk.dryRun) {
    return back(state, { outcome: "dry-run", first: [send({ kind: "done" }), { do: "resume" }] });
  }
  if (kind === "warm-ready") {
    const deadlineMs = DEADLINES_MS.window;
    return {
      state: { name: "window", generation, cut: "no", said: false },
      actions: [
        arm("windowAnswer"),
        send({ kind: "freeze", generation, deadlineMs }),
        { do: "give", generation, inBatches: talk.inBatches },
      ],
    };
  }
  const ended = endOf(event);
  return ended === undefined ? stay(state) : calledOff(state, ended);
}

function inWindow(state: In<"window">, event: PredecessorEvent): PredecessorStep {
  const { generation } = state;
  if (event.kind === "deadline") return die(state, "the window of the handoff did not end");
  if (event.kind === "closed") {
    return { state: { ...state, cut: event.peerAlive ? "peer-alive" : "peer-dead" }, actions: [] };
  }
  if (event.kind === "message" && event.message.kind === "serving") {
    return { state: { ...state, said: true }, actions: [] };
  }
  if (event.kind !== "gave") return stay(state);
  const { outcome } = event;
  switch (outcome.kind) {
    case "given":
      if (state.cut === "peer-alive") return release("given", false);
      if (state.cut === "peer-dead") return reclaim(generation, SUCCESSOR_DIED);
      if (state.said) return release("given", true);
      return { state: { name: "given", generation }, actions: [arm("given")] };
    case "kept":
      return calledOff({ generation: outcome.generation }, outcome.reason);
    case "lost":
      break;
  }
  return reclaim(generation, outcome.reason);
}

/** The successor serves all devices, so a cut alone is no reason to touch them again. */
function inGiven(state: In<"given">, event: PredecessorEvent): PredecessorStep {
  const { generation } = state;
  if (event.kind === "message" && event.message.kind === "serving") return release("given", true);
  if (event.kind === "closed")
    return event.peerAlive ? release("given", false) : reclaim(generation, SUCCESSOR_DIED);
  if (event.kind === "deadline") return reclaim(generation, SUCCESSOR_HANGS);
  return stay(state);
}

function inReleasing(state: In<"releasing">, event: PredecessorEvent): PredecessorStep {
  if (event.kind === "closed") return { state: { ...state, polite: false }, actions: [] };
  if (event.kind === "deadline") return die(state, "what was handed over could not be closed");
  if (event.kind !== "released") return stay(state);
  return {
    state: { name: "idle" },
    actions: [
      { do: "disarm" },
      ...(state.polite ? [send({ kind: "done" })] : []),
      { do: "close" },
      { do: "report", outcome: state.outcome },
    ],
  };
}

function inReclaiming(state: In<"reclaiming">, event: PredecessorEvent): PredecessorStep {
  if (event.kind === "deadline") return die(state, "the successor's devices could not be taken up");
  if (event.kind === "reclaimed") {
    return {
      state: { name: "serving", generation: event.generation },
      actions: [
        { do: "disarm" },
        { do: "close" },
        { do: "resume" },
        { do: "report", outcome: "recovered", reason: state.reason },
      ],
    };
  }
  return event.kind === "overtaken" ? release("lost", false) : stay(state);
}

/** Why a handoff that has not reached the window must end; undefined: it need not. */
function endOf(event: PredecessorEvent): string | undefined {
  switch (event.kind) {
    case "closed":
      return event.peerAlive ? "the successor closed the connection" : "the successor died";
    case "deadline":
      return "the successor did not go on in time";
    case "garbage":
      return "the successor broke the protocol";
    case "pressure":
      return event.reason;
    case "stop":
      return "this engine was told to stop";
    case "message":
      return event.message.kind === "abort" ? event.message.reason : undefined;
    case "connected":
    case "settled":
    case "unsettled":
    case "gave":
    case "released":
    case "reclaimed":
    case "overtaken":
      break;
  }
  return undefined;
}

/** Back to serving, out of a calm, telling the successor why. */
function calledOff(state: { readonly generation: number }, reason: string): PredecessorStep {
  const first = [
    send({ kind: "abort", reason: reason.slice(0, 1_000) }),
    { do: "resume" } as const,
  ];
  return back(state, { outcome: "kept", reason, first });
}

function back(
  state: { readonly generation: number },
  how: {
    readonly outcome?: Outcome;
    readonly reason?: string;
    readonly first?: readonly PredecessorAction[];
  },
): PredecessorStep {
  const { outcome, reason, first = [] } = how;
  const why = reason === undefined ? {} : { reason };
  return {
    state: { name: "serving", generation: state.generation },
    actions: [
      { do: "disarm" },
      ...first,
      { do: "close" },
      ...(outcome === undefined ? [] : [{ do: "report", outcome, ...why } as const]),
    ],
  };
}

function release(outcome: "given" | "lost", polite: boolean): PredecessorStep {
  return {
    state: { name: "releasing", outcome, polite },
    actions: [arm("releasing"), { do: "release" }],
  };
}

function reclaim(generation: number, reason: string): PredecessorStep {
  return {
    state: { name: "reclaiming", generation, reason },
    actions: [arm("reclaiming"), { do: "reclaim", generation: generation + 2 }],
  };
}

function die(state: PredecessorState, reason: string): PredecessorStep {
  return { state, actions: [{ do: "disarm" }, { do: "die", reason }] };
}

function stay(state: PredecessorState): PredecessorStep {
  return { state, actions: [] };
}

function arm(state: keyof typeof DEADLINES_MS): PredecessorAction {
  return { do: "arm", ms: DEADLINES_MS[state] };
}

function send(message: Message): PredecessorAction {
  return { do: "send", message };
}
