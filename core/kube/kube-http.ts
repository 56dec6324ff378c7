// HTTP to an API server, by Node's own client: each request with a deadline, each stream with one
// for its next piece.

import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { RequestOptions } from "node:https";
import { readFile } from "node:fs/promises";
import { messageOf, WeirError } from "../runtime/errors.ts";
import type { Clock } from "../runtime/ports.ts";
import { abortReason, abortable } from "../runtime/timer-signals.ts";
import type { KubeConfig } from "./kube-config.ts";

/** From the start of a request to the last byte of its answer. */
const ANSWER_DEADLINE_MS = 30_000;
/** A page of a list is far smaller; what is larger would fill our memory. */
const ANSWER_BYTES_MAX = 64 * 2 ** 20;
/** TCP probes a silent peer after this long, and gives it up some seconds later. */
const TCP_PROBE_MS = 30_000;
/** Shorter than servers and load balancers keep an idle connection. */
const IDLE_SOCKET_MS = 45_000;
/** A pod's token is renewed minutes before its end. */
const TOKEN_MAX_AGE_MS = 60_000;

export interface HttpCall {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** With the query. */
  readonly path: string;
  readonly body?: { readonly contentType: string; readonly json: object };
}

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

export interface HttpStream {
  readonly status: number;
  /** The body; stopping to iterate closes the connection. */
  readonly chunks: AsyncIterable<Buffer>;
}

export interface KubeHttpOptions {
  readonly clock: Clock;
  readonly config: KubeConfig;
  /** `weir-operator/0.1.0`; the part before the slash is the field manager of merge patches. */
  readonly userAgent: string;
}

export class KubeHttp implements Disposable {
  readonly #options: KubeHttpOptions;
  readonly #server: URL;
  readonly #agent: HttpAgent;
  #token: { readonly text: string; readonly readAtMs: number } | undefined;

  constructor(options: KubeHttpOptions) {
    this.#options = options;
    const { server, tls } = options.config;
    this.#server = new URL(server);
    const kept = { keepAlive: true, timeout: IDLE_SOCKET_MS };
    this.#agent =
      this.#server.protocol === "http:" ? new HttpAgent(kept) : new HttpsAgent({ ...kept, ...tls });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  /** One request and its whole answer, whatever its status. */
  async call(call: HttpCall, parent: AbortSignal): Promise<HttpAnswer> {
    using signal = this.#options.clock.deadline(ANSWER_DEADLINE_MS, parent);
    try {
      const answer = await this.#send(call, signal);
      return { status: answer.statusCode ?? 0, text: await wholeText(answer, signal) };
    } catch (error) {
      throw faultOf(error, call, { signal, parent });
    }
  }

  /** Begins a request whose answer is read piece by piece, each within `pieceMs()`. */
  async stream(call: HttpCall, parent: AbortSignal, pieceMs: () => number): Promise<HttpStream> {
    const { clock } = this.#options;
    using signal = clock.deadline(ANSWER_DEADLINE_MS, parent);
    try {
      const answer = await this.#send(call, signal);
      const chunks = pieces({ answer, clock, parent, pieceMs, call });
      return { status: answer.statusCode ?? 0, chunks };
    } catch (error) {
      throw faultOf(error, call, { signal, parent });
    }
  }

  /** Sends until the head of the answer; once more when an idle connection turned out dead. */
  async #send(call: HttpCall, signal: AbortSignal): Promise<IncomingMessage> {
    const first = await this.#attempt(call, signal);
    if (first.kind === "answer") return first.answer;
    // A server closes idle connections when it likes. What must not happen twice is not resent.
    if (!first.isReused || call.method === "POST") throw first.error;
    const second = await this.#attempt(call, signal);
    if (second.kind === "answer") return second.answer;
    throw second.error;
  }

  async #attempt(call: HttpCall, signal: AbortSignal): Promise<Attempt> {
    const token = await abortable(this.#currentToken(), signal);
    const send = this.#server.protocol === "http:" ? httpRequest : httpsRequest;
    const request = send(this.#requestOptions(call, token));
    request.on("socket", (socket) => socket.setKeepAlive(true, TCP_PROBE_MS));
    const onAbort = (): void => void request.destroy(abortReason(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await answerTo(request, call);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #currentToken(): Promise<string | undefined> {
    const { clock, config } = this.#options;
    const { token } = config;
    if (token?.kind !== "file") return token?.text;
    const nowMs = clock.monotonicMs();
    if (this.#token === undefined || nowMs - this.#token.readAtMs >= TOKEN_MAX_AGE_MS) {
      this.#token = { text: (await readFile(token.path, "utf8")).trim(), readAtMs: nowMs };
    }
    return this.#token.text;
  }

  #requestOptions(call: HttpCall, token: string | undefined): RequestOptions {
    const { body } = call;
    const { hostname, port, pathname } = this.#server;
    return {
      agent: this.#agent,
      method: call.method,
      host: hostname.replace(/^\[(.*)\]$/u, "$1"),
      port,
      path: `${pathname.replace(/\/$/u, "")}${call.path}`,
      headers: {
        accept: "application/json",
        "user-agent": this.#options.userAgent,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": body.contentType }),
        // Node would send the body of a DELETE without any length.
        ...(body === undefined ? {} : { "content-length": Buffer.byteLength(textOf(body)) }),
      },
    };
  }
}

type Attempt =
  | { readonly kind: "answer"; readonly answer: IncomingMessage }
  | { readonly kind: "failed"; readonly error: Error; readonly isReused: boolean };

function answerTo(request: ClientRequest, call: HttpCall): Promise<Attempt> {
  return new Promise((resolve) => {
    request.once("response", (answer) => resolve({ kind: "answer", answer }));
    // After the answer's head, faults come from the answer itself.
    request.on("error", (error) => {
      resolve({ kind: "failed", error, isReused: request.reusedSocket });
    });
    request.end(call.body === undefined ? undefined : textOf(call.body));
  });
}

function textOf(body: { readonly json: object }): string {
  return JSON.stringify(body.json);
}

async function wholeText(answer: IncomingMessage, signal: AbortSignal): Promise<string> {
  const onAbort = (): void => void answer.destroy(abortReason(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of answer) {
      const piece = Buffer.from(chunk);
      bytes += piece.length;
      if (bytes > ANSWER_BYTES_MAX) throw new Error("the answer is larger than any should be");
      chunks.push(piece);
    }
    return Buffer.concat(chunks).toString("utf8");
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function* pieces(options: {
  readonly answer: IncomingMessage;
  readonly clock: Clock;
  readonly parent: AbortSignal;
  readonly pieceMs: () => number;
  readonly call: HttpCall;
}): AsyncGenerator<Buffer, void, undefined> {
  const { answer, clock, parent, pieceMs, call } = options;
  const iterator: AsyncIterator<unknown> = answer[Symbol.asyncIterator]();
  try {
    for (;;) {
      using signal = clock.deadline(pieceMs(), parent);
      let piece: IteratorResult<unknown>;
      try {
        piece = await abortable(iterator.next(), signal);
      } catch (error) {
        throw faultOf(error, call, { signal, parent });
      }
      if (piece.done === true) return;
      if (Buffer.isBuffer(piece.value)) yield piece.value;
    }
  } finally {
    answer.destroy();
  }
}

function faultOf(
  error: unknown,
  call: HttpCall,
  signals: { readonly signal: AbortSignal; readonly parent: AbortSignal },
): WeirError {
  if (signals.parent.aborted) return abortReason(signals.parent);
  const path = call.path.split("?")[0];
  const message = signals.signal.aborted
    ? "the API server has gone silent: check the network and the API server"
    : "the API server cannot be reached: check the network and the API server";
  return new WeirError("kube-unavailable", message, {
    details: { method: call.method, path, problem: messageOf(error) },
    cause: error,
  });
}
