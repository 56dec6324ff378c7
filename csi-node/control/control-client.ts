// EngineApi over the control socket: what the CLI and the CSI node service call. Each call is one
// connection, so that ending the process or aborting the signal ends the call in the engine too.
import { request as httpRequest, type IncomingMessage } from "node:http";
import type { z } from "zod";

import { WeirError } from "../../core/runtime/errors.ts";
import type { SnapshotRecord } from "../../core/log/records.ts";
import { abortReason } from "../../core/runtime/timer-signals.ts";
import type { AttachedVolume, CallContext, EngineApi, EngineStatus } from "./engine-api.ts";
import {
  answerLine,
  CALL_PATH,
  LINE_BYTES_MAX,
  resultSchemas,
  type AnswerLine,
  type Method,
} from "./messages.ts";

type Options<M extends keyof EngineApi> = Parameters<EngineApi[M]>[0];

const ABSENT: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED"]);
const CLOSED: ReadonlySet<string> = new Set(["EACCES", "EPERM"]);

interface Call<T> {
  readonly method: Method;
  readonly body: object;
  readonly answer: z.ZodType<T>;
}

export class ControlClient implements EngineApi {
  readonly #socketPath: string;

  constructor(options: { readonly socketPath: string }) {
    this.#socketPath = options.socketPath;
  }

  status(context: CallContext): Promise<EngineStatus> {
    return this.#call({ method: "status", body: {}, answer: resultSchemas.status }, context);
  }

  attach(options: Options<"attach">, context: CallContext): Promise<AttachedVolume> {
    const answer = resultSchemas.attach;
    return this.#call({ method: "attach", body: options, answer }, context);
  }

  async detach(options: Options<"detach">, context: CallContext): Promise<void> {
    const answer = resultSchemas.detach;
    await this.#call({ method: "detach", body: options, answer }, context);
  }

  snapshot(options: Options<"snapshot">, context: CallContext): Promise<SnapshotRecord> {
    const answer = resultSchemas.snapshot;
    return this.#call({ method: "snapshot", body: options, answer }, context);
  }

  async grow(options: Options<"grow">, context: CallContext): Promise<void> {
    const answer = resultSchemas.grow;
    await this.#call({ method: "grow", body: options, answer }, context);
  }

  async #call<T>(call: Call<T>, context: CallContext): Promise<T> {
    const response = await this.#post(call, context.signal);
    try {
      for await (const text of linesOf(response)) {
        const line = this.#check(answerLine, parseJson(text));
        if ("fault" in line) throw toFault(line);
        if ("result" in line) return this.#check(call.answer, line.result);
        context.onProgress?.(line.progress.dirtyBytes);
      }
    } catch (cause) {
      if (cause instanceof WeirError) throw cause;
      throw this.#cut(context.signal, cause);
    } finally {
      response.destroy();
    }
    throw this.#cut(context.signal);
  }

  #post({ method, body }: Call<unknown>, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortReason(signal));
        return;
      }
      const request = httpRequest({
        socketPath: this.#socketPath,
        path: CALL_PATH + method,
        method: "POST",
        headers: { "content-type": "application/json" },
        agent: false,
        signal,
      });
      request.once("response", resolve);
      request.once("error", (cause: NodeJS.ErrnoException) => {
        reject(this.#unreached(signal, cause));
      });
      request.end(JSON.stringify(body));
    });
  }

  #unreached(signal: AbortSignal, cause: NodeJS.ErrnoException): WeirError {
    const details = { socket: this.#socketPath };
    if (ABSENT.has(cause.code ?? "")) {
      return new WeirError("engine-unavailable", "no engine is running on this node", {
        details,
        cause,
      });
    }
    if (CLOSED.has(cause.code ?? "")) {
      return new WeirError(
        "engine-unavailable",
        "the engine's socket is closed to this user: use root or the user who runs the engine",
        { details, cause },
      );
    }
    return this.#cut(signal, cause);
  }

  #cut(signal: AbortSignal, cause?: unknown): WeirError {
    if (signal.aborted) {
      const reason = abortReason(signal);
      if (reason instanceof WeirError) return reason;
    }
    return new WeirError(
      "engine-unavailable",
      "the engine ended before it answered: ask for its status when it is back",
      { details: { socket: this.#socketPath }, cause },
    );
  }

  #check<T>(schema: z.ZodType<T>, value: unknown): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new WeirError(
      "internal",
      "the engine's answer was not understood: use a weir command of the engine's release",
      { details: { socket: this.#socketPath }, cause: parsed.error },
    );
  }
}

/** Lines without their ends; a line that never ends is given up. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding("utf8");
  let rest = "";
  for await (const part of response) {
    const text = String(part);
    const end = text.lastIndexOf("\n");
    // Cut only where a line ends: a long line must not be gone through anew with each of its parts.
    if (end >= 0) {
      yield* (rest + text.slice(0, end)).split("\n");
      rest = "";
    }
    rest += text.slice(end + 1);
    if (rest.length > LINE_BYTES_MAX) break;
  }
}

function toFault(line: Extract<AnswerLine, { fault: unknown }>): WeirError {
  const { code, message, details } = line.fault;
  return new WeirError(code, message, { details });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
