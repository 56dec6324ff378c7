// The services of this repository are written as plain objects of asynchronous functions; here they
// become what grpc-js serves. This is the one place that turns a fault into a status, logs a call
// and counts it. A method that is left out answers UNIMPLEMENTED.
import {
  status,
  type handleUnaryCall,
  type MethodDefinition,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

import { FAULTS, WeirError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/log.ts";
import type { Clock } from "../runtime/ports.ts";
import { toRpcStatus } from "./grpc-status.ts";

export interface RpcCall {
  /** Aborts when the caller goes away or its deadline is over, and when the server must end. */
  readonly signal: AbortSignal;
}

type Unary<Request, Response> = (request: Request, call: RpcCall) => Promise<Response>;

/** Some or all of a service's RPCs. */
export type Handlers<Service> = {
  readonly [Name in keyof Service]?: Service[Name] extends MethodDefinition<
    infer Request,
    infer Response
  >
    ? Unary<Request, Response>
    : never;
};

export interface RpcService {
  readonly definition: ServiceDefinition;
  readonly handlers: Readonly<Record<string, Unary<unknown, unknown>>>;
}

/** `rpcService(NodeService, { nodeStageVolume: async (request, call) => ... })`. */
export function rpcService<Service extends ServiceDefinition>(
  definition: Service,
  handlers: Handlers<Service>,
): RpcService {
  return { definition, handlers: Object.fromEntries(Object.entries(handlers)) };
}

/** What a metric is told of each call that ended. */
export interface EndedCall {
  /** As on the wire: `/csi.v1.Node/NodeStageVolume`. */
  readonly method: string;
  /** `OK`, `ABORTED`, ... */
  readonly code: string;
  readonly durationMs: number;
}

export interface RpcContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts when calls that still run must end. */
  readonly ending: AbortSignal;
  readonly onCall: (call: EndedCall) => void;
}

export function implement(service: RpcService, context: RpcContext): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  for (const [name, handler] of Object.entries(service.handlers)) {
    implementation[name] = unary(handler, context);
  }
  return implementation;
}

function unary(
  handler: Unary<unknown, unknown>,
  context: RpcContext,
): handleUnaryCall<unknown, unknown> {
  return (call, callback) => {
    const cancelled = new AbortController();
    call.once("cancelled", () => {
      cancelled.abort(new WeirError("aborted", "the caller of this RPC went away"));
    });
    const signal = AbortSignal.any([cancelled.signal, context.ending]);
    void answer({ handler, call, callback, signal, context });
  };
}

/** Never rejects. */
async function answer(options: {
  readonly handler: Unary<unknown, unknown>;
  readonly call: ServerUnaryCall<unknown, unknown>;
  readonly callback: sendUnaryData<unknown>;
  readonly signal: AbortSignal;
  readonly context: RpcContext;
}): Promise<void> {
  const { handler, call, callback, signal, context } = options;
  const { clock, onCall } = context;
  const startedMs = clock.monotonicMs();
  let failure: unknown;
  try {
    callback(null, await handler(call.request, { signal }));
  } catch (cause) {
    failure = cause ?? new Error("a handler threw nothing");
    callback(toRpcStatus(cause));
  }
  const code = failure === undefined ? status.OK : toRpcStatus(failure).code;
  const method = call.getPath();
  const durationMs = clock.monotonicMs() - startedMs;
  onCall({ method, code: status[code], durationMs });
  logCall({ context, request: call.request, failure, fields: { method, durationMs } });
}

/** A refusal is worth a line at its own level; success only to who looks for it. */
function logCall(options: {
  readonly context: RpcContext;
  readonly request: unknown;
  readonly failure: unknown;
  readonly fields: { readonly method: string; readonly durationMs: number };
}): void {
  const { context, request, failure, fields } = options;
  const { log } = context;
  const line = { ...fields, durationMs: Math.round(fields.durationMs), ...subject(request) };
  if (failure === undefined) {
    log[quiet.test(fields.method) ? "debug" : "info"](line, "RPC answered");
  } else {
    const level = failure instanceof WeirError ? FAULTS[failure.code].level : "error";
    log[level]({ ...line, err: failure }, "RPC failed");
  }
  if (log.isLevelEnabled("debug")) log.debug({ ...line, request: printable(request) }, "RPC");
}

/** Asked again and again by sidecars and kubelet. */
const quiet = /(?:Probe|GetCapabilities|PluginInfo|GetPluginCapabilities|VolumeStats|GetInfo)$/u;

/** The names that say what a call was about. */
function subject(request: unknown): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  if (typeof request !== "object" || request === null) return found;
  for (const [key, value] of Object.entries(request)) {
    if (SUBJECTS.has(key) && typeof value === "string" && value !== "") found[key] = value;
  }
  return found;
}

const SUBJECTS: ReadonlySet<string> = new Set([
  ...["name", "volumeId", "snapshotId", "sourceVolumeId", "nodeId"],
  ...["stagingTargetPath", "targetPath", "volumePath"],
]);

/** Secrets are not in it: they are never read. Counts of bytes are bigint, unknown to JSON. */
function printable(request: unknown): string {
  return JSON.stringify(request, (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
}
