// What kubelet and Prometheus ask over HTTP. Alive means that this process answers: whatever it
// waits for (store, API server, leadership), a restart would not bring it sooner. So it answers
// before the rest of the program is loaded, which takes minutes on a machine that is slow enough.
import { createServer, type Server } from "node:http";

import { WeirError } from "./errors.ts";

/** What a program knows about itself once it runs. */
export interface HealthSource {
  /** Why calls cannot be served; `undefined` when they can. */
  readonly whyNotReady: () => string | undefined | Promise<string | undefined>;
  readonly metrics: () => Promise<string>;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

const STARTING: HealthSource = {
  whyNotReady: () => "the program is starting",
  metrics: () => Promise.resolve(""),
};

export class Health implements AsyncDisposable {
  readonly #server: Server;
  #source = STARTING;

  /** `endpoint`: `host:port`, `:port` or a bare port. */
  static async serve(endpoint: string): Promise<Health> {
    const health = new Health();
    await listen(health.#server, endpoint);
    return health;
  }

  private constructor() {
    this.#server = createServer((request, response) => {
      void answer(this.#source, request.url ?? "/").then(({ status, text }) => {
        response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
      });
    });
  }

  /** From now on this is asked. */
  ask(source: HealthSource): void {
    this.#source = source;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

/** Never rejects. */
async function answer(source: HealthSource, path: string): Promise<Answer> {
  try {
    return await answerOf(source, path);
  } catch {
    return { status: 500, text: "the question failed unexpectedly\n" };
  }
}

async function answerOf(source: HealthSource, path: string): Promise<Answer> {
  const { whyNotReady, metrics } = source;
  switch (path) {
    case "/healthz":
      return { status: 200, text: "ok\n" };
    case "/startupz":
      return source === STARTING
        ? { status: 503, text: "the program is starting\n" }
        : { status: 200, text: "started\n" };
    case "/readyz": {
      const reason = await whyNotReady();
      return { status: reason === undefined ? 200 : 503, text: `${reason ?? "ready"}\n` };
    }
    case "/metrics":
      return { status: 200, text: await metrics() };
    default:
      return { status: 404, text: "there are /healthz, /startupz, /readyz and /metrics\n" };
  }
}

async function listen(server: Server, endpoint: string): Promise<void> {
  const { host = "", port } = /^(?:(?<host>.*):)?(?<port>\d{1,5})$/u.exec(endpoint)?.groups ?? {};
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  try {
    if (port === undefined) throw new Error("it must be HOST:PORT or :PORT");
    server.listen({ port: Number(port), ...(host === "" ? {} : { host }) }, resolve);
    await promise;
  } catch (cause) {
    const message = "the HTTP endpoint must be HOST:PORT or :PORT, free, and of this machine";
    throw new WeirError("invalid-argument", message, { details: { endpoint }, cause });
  }
}
