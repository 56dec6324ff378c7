// The successor's side of a handoff as a pure function, as predecessor-machine.ts for the other.
//
// Invariants: nothing here is served before the window answers `taken`, and everything is from then
// on (`isOwner`): a predecessor that is gone, cut off or slow is no reason to let go again. Before
// it every way out leads to `gone`, with nothing changed on disk, in the bucket or in the kernel.
// Every state but the homes (`serving`, `gone`) is entered with a deadline.
import type { TakeOutcome } from "../engine/handoff-port.ts";
import { VERSION } from "../../core/runtime/version.ts";
import { DEADLINES_MS } from "./deadlines.ts";
import {
  CAPABILITIES,
  type Message,
  missingCapability,
  type PeerEvent,
  VERSION_MAX,
  VERSION_MIN,
  VERSION_WITH_PROGRESS,
} from "./messages.ts";

interface Talk {
  readonly version: number;
  /** Of the predecessor. */
  readonly generation: number;
  readonly dryRun: boolean;
}

export type SuccessorState =
  /** Connected, nothing said yet. */
  | { readonly name: "connected"; readonly dryRun: boolean }
  | { readonly name: "greeting"; readonly dryRun: boolean }
  /** Waits for all pages of the list. */
  | { readonly name: "listing"; readonly talk: Talk }
  | { readonly name: "loading"; readonly talk: Talk }
  /** Everything is warm; the predecessor opens the window. */
  | { readonly name: "ready"; readonly talk: Talk }
  | { readonly name: "window"; readonly generation: number; readonly cut: boolean }
  /** Every device is served; sessions are made for them. `generation` is our own from here on. */
  | { readonly name: "adopting"; readonly generation: number; readonly cut: boolean }
  /** Waits until the predecessor has closed what is left of it. */
  | { readonly name: "farewell"; readonly generation: number }
  /** Home: the engine of this node. */
  | { readonly name: "serving"; readonly generation: number }
  /** Home: nothing was taken. */
  | { readonly name: "gone"; readonly end: SuccessorEnd };

export interface SuccessorEnd {
  readonly kind: "warm" | "refused" | "predecessor-died" | "failed";
  readonly reason: string;
}

export type SuccessorEvent =
  | { readonly kind: "start" }
  | PeerEvent
  | { readonly kind: "deadline" }
  | { readonly kind: "progress"; readonly loaded: number; readonly of: number }
  | { readonly kind: "loaded"; readonly volumes: number }
  | { readonly kind: "unloaded"; readonly reason: string }
  | { readonly kind: "took"; readonly outcome: TakeOutcome }
  | { readonly kind: "adopted" }
  | { readonly kind: "unadopted"; readonly reason: string }
  | { readonly kind: "stop" };

export type SuccessorAction =
  | { readonly do: "arm"; readonly ms: number }
  | { readonly do: "disarm" }
  | { readonly do: "send"; readonly message: Message }
  /** Remember a page of the list. */
  | { readonly do: "note"; readonly page: Extract<Message, { kind: "warm" }> }
  | { readonly do: "load" }
  | { readonly do: "take"; readonly generation: number; readonly deadlineMs: number }
  | { readonly do: "adopt"; readonly outcome: Extract<TakeOutcome, { kind: "taken" }> }
  /** Lets go of what is warm. */
  | { readonly do: "discard" }
  | { readonly do: "close" }
  | { readonly do: "die"; readonly reason: string };

export interface SuccessorStep {
  readonly state: SuccessorState;
  readonly actions: readonly SuccessorAction[];
}

export function isOwner(state: SuccessorState): boolean {
  return ["adopting", "farewell", "serving"].includes(state.name);
}

export function stepSuccessor(state: SuccessorState, event: SuccessorEvent): SuccessorStep {
  switch (state.name) {
    case "connected":
      return inConnected(state, event);
    case "greeting":
      return inGreeting(state, event);
    case "listing":
      return inListing(state, event);
    case "loading":
      return inLoading(state, event);
    case "ready":
      return inReady(state, event);
    case "window":
      return inWindow(state, event);
    case "adopting":
      return inAdopting(state, event);
    case "farewell":
      return inFarewell(state, event);
    case "serving":
    case "gone":
      break;
  }
  return stay(state);
}

type In<Name> = Extract<SuccessorState, { name: Name }>;

function inConnected(state: In<"connected">, event: SuccessorEvent): SuccessorStep {
  if (event.kind !== "start") return before(state, event);
  const { dryRun } = state;
  const versions = { min: VERSION_MIN, max: VERSION_MAX };
  const hello = { build: VERSION, capabilities: [...CAPABILITIES], dryRun };
  return {
    state: { name: "greeting", dryRun },
    actions: [arm("answer"), send({ kind: "hello", ...versions, ...hello })],
  };
}

function inGreeting(state: In<"greeting">, event: SuccessorEvent): SuccessorStep {
  if (event.kind === "message" && event.message.kind === "refuse") {
    return leave({ kind: "refused", reason: event.message.reason });
  }
  if (event.kind !== "message" || event.message.kind !== "hello-ack") return before(state, event);
  const { version, generation, capabilities } = event.message;
  const missing = missingCapability(capabilities);
  if (version < VERSION_MIN || version > VERSION_MAX || missing !== undefined) {
    const reason = "the engine that serves here answered in a version that this one does not speak";
    return abort({ kind: "refused", reason });
  }
  const talk = { version, generation, dryRun: state.dryRun };
  return { state: { name: "listing", talk }, actions: [arm("list")] };
}

function inListing(state: In<"listing">, event: SuccessorEvent): SuccessorStep {
  if (event.kind !== "message" || event.message.kind !== "warm") return before(state, event);
  const page = event.message;
  const note = { do: "note", page } as const;
  if (!page.last) return { state, actions: [note] };
  const { talk } = state;
  return { state: { name: "loading", talk }, actions: [arm("warming"), note, { do: "load" }] };
}

/** Its deadline is the predecessor's, begun anew with every progress. */
function inLoading(state: In<"loading">, event: SuccessorEvent): SuccessorStep {
  const { talk } = state;
  if (event.kind === "progress") {
    // A predecessor of version 1 breaks off at a kind that it does not know.
    if (talk.version < VERSION_WITH_PROGRESS) return stay(state);
    const { loaded, of } = event;
    return { state, actions: [arm("warming"), send({ kind: "warming", loaded, of })] };
  }
  if (event.kind === "unloaded") return abort({ kind: "failed", reason: event.reason });
  if (event.kind !== "loaded") return before(state, event);
  return {
    state: { name: "ready", talk },
    actions: [arm("freeze"), send({ kind: "warm-ready", volumes: event.volumes })],
  };
}

function inReady(state: In<"ready">, event: SuccessorEvent): SuccessorStep {
  const { talk } = state;
  if (event.kind !== "message") return before(state, event);
  const { message } = event;
  if (message.kind === "done" && talk.dryRun) {
    return leave({ kind: "warm", reason: "everything is warm" });
  }
  if (message.kind !== "freeze" || talk.dryRun) return before(state, event);
  const { generation, deadlineMs } = message;
  return {
    state: { name: "window", generation, cut: false },
    actions: [arm("windowAnswer"), { do: "take", generation, deadlineMs }],
  };
}

/** The socket is the engine's now; what happens to it shows in its answer. */
function inWindow(state: In<"window">, event: SuccessorEvent): SuccessorStep {
  if (event.kind === "deadline") return die(state, "the window of the handoff did not end");
  if (event.kind === "closed") return { state: { ...state, cut: true }, actions: [] };
  if (event.kind !== "took") return stay(state);
  const { outcome } = event;
  if (outcome.kind === "refused") {
    return {
      state: { name: "gone", end: { kind: "failed", reason: outcome.reason } },
      actions: [{ do: "disarm" }, { do: "close" }],
    };
  }
  return {
    state: { name: "adopting", generation: state.generation + 1, cut: state.cut },
    actions: [arm("adopting"), { do: "adopt", outcome }],
  };
}

function inAdopting(state: In<"adopting">, event: SuccessorEvent): SuccessorStep {
  const { generation } = state;
  switch (event.kind) {
    case "closed":
    case "garbage":
      return { state: { ...state, cut: true }, actions: [] };
    case "adopted":
      if (state.cut) return settled(generation);
      return {
        state: { name: "farewell", generation },
        actions: [arm("farewell"), send({ kind: "serving", generation })],
      };
    case "unadopted":
      return die(state, event.reason);
    case "deadline":
      return die(state, "the volumes that were taken over got no sessions in time");
    case "start":
    case "message":
    case "progress":
    case "loaded":
    case "unloaded":
    case "took":
    case "stop":
      break;
  }
  return stay(state);
}

/** Nothing depends on the predecessor's word any more, so its silence ends this, too. */
function inFarewell(state: In<"farewell">, event: SuccessorEvent): SuccessorStep {
  const isDone = event.kind === "message" && event.message.kind === "done";
  const ended = isDone || ["closed", "garbage", "deadline"].includes(event.kind);
  return ended ? settled(state.generation) : stay(state);
}

function settled(generation: number): SuccessorStep {
  return {
    state: { name: "serving", generation },
    actions: [{ do: "disarm" }, { do: "close" }],
  };
}

/** What ends every state before the window. */
function before(state: SuccessorState, event: SuccessorEvent): SuccessorStep {
  switch (event.kind) {
    case "closed":
      if (event.peerAlive) return leave({ kind: "failed", reason: "the other engine hung up" });
      return leave({ kind: "predecessor-died", reason: "the engine that served here died" });
    case "deadline":
      return abort({ kind: "failed", reason: "the other engine did not go on in time" });
    case "garbage":
      return abort({ kind: "failed", reason: "the other engine broke the protocol" });
    case "stop":
      return abort({ kind: "failed", reason: "this engine was told to stop" });
    case "message":
      if (event.message.kind !== "abort") break;
      return leave({ kind: "failed", reason: event.message.reason });
    case "start":
    case "progress":
    case "loaded":
    case "unloaded":
    case "took":
    case "adopted":
    case "unadopted":
      break;
  }
  return stay(state);
}

function abort(end: SuccessorEnd): SuccessorStep {
  const left = leave(end);
  const word = send({ kind: "abort", reason: end.reason.slice(0, 1_000) });
  return { state: left.state, actions: [word, ...left.actions] };
}

function leave(end: SuccessorEnd): SuccessorStep {
  return {
    state: { name: "gone", end },
    actions: [{ do: "disarm" }, { do: "discard" }, { do: "close" }],
  };
}

function die(state: SuccessorState, reason: string): SuccessorStep {
  return { state, actions: [{ do: "disarm" }, { do: "die", reason }] };
}

function stay(state: SuccessorState): SuccessorStep {
  return { state, actions: [] };
}

function arm(state: keyof typeof DEADLINES_MS): SuccessorAction {
  return { do: "arm", ms: DEADLINES_MS[state] };
}

function send(message: Message): SuccessorAction {
  return { do: "send", message };
}
