// How a fault looks to a caller of a CSI service: gRPC code by the table of faults, its sentence,
// and its details behind it, because the caller (an event on a pod) shows nothing else.
import { status } from "@grpc/grpc-js";

import { FAULTS, WeirError } from "../runtime/errors.ts";

export interface RpcStatus {
  readonly code: status;
  readonly details: string;
}

export function toRpcStatus(cause: unknown): RpcStatus {
  if (!(cause instanceof WeirError)) {
    const details = "the call failed unexpectedly: see the log of this container";
    return { code: status.INTERNAL, details };
  }
  return { code: status[FAULTS[cause.code].grpc], details: sentence(cause) };
}

function sentence({ message, details }: WeirError): string {
  const known = Object.entries(details).filter(([, value]) => value !== undefined);
  if (known.length === 0) return message;
  return `${message} (${known.map(([key, value]) => `${key}: ${value}`).join(", ")})`;
}
