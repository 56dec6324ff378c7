// What the RPCs share: the operator's parts and the calls under way, and how long they wait.
import type { RpcCall } from "../../core/csi/rpc-service.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import { isObjectName } from "../names.ts";
import type { OperatorParts } from "../parts.ts";
import type { InFlight } from "./in-flight.ts";

export interface ServiceParts extends OperatorParts {
  readonly inFlight: InFlight;
}

/** Below the sidecars' timeout of 60 s, so that they get the reason and not only a timeout. */
export const READY_MS = 45_000;
/** A snapshot that takes longer is polled for. */
export const SNAPSHOT_MS = 20_000;
/** Until our own copy has seen what the API server accepted. */
export const ECHO_MS = 5_000;
/** Somebody else may write the same object in between, but not for ever. */
export const WRITE_TRIES_MAX = 5;

export type { RpcCall };

export function required(value: string, field: string): string {
  if (value !== "") return value;
  throw new WeirError("invalid-argument", `${field} is missing from the request`);
}

/** The object's name that an id stands for; undefined when no object can have it. */
export function objectNameOf(id: string): string | undefined {
  return isObjectName(id) ? id : undefined;
}

export function missing(kind: "volume" | "snapshot" | "node", id: string): WeirError {
  return new WeirError("not-found", `the ${kind} does not exist`, { details: { [kind]: id } });
}

/** True when the time given to a wait is over, and not the caller gone. */
export function isOver(cause: unknown, call: RpcCall): boolean {
  return cause instanceof WeirError && cause.code === "deadline-exceeded" && !call.signal.aborted;
}
