// What kubelet and Prometheus ask over HTTP: is this process alive, is the node ready for pods
// with volumes, and its metrics. Alive says nothing about the engine: restarting this process
// would not heal it.
import { createServer, type Server } from "node:http";

import { WeirError } from "../../core/runtime/errors.ts";

export interface HealthOptions {
  /** `host:port`, `:port` or a bare port. */
  readonly endpoint: string;
  /** Why the node is not ready; `undefined` when it is. */
  readonly whyNotReady: () => Promise<string | undefined>;
  readonly metrics: () => Promise<string>;
}

export async function serveHealth(options: HealthOptions): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    void respond(options, request.url ?? "/").then(({ status, text }) => {
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
    });
  });
  await listen(server, options.endpoint);
  // What it answers is of no use to anybody once the rest has ended.
  server.unref();
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Never rejects. */
async function respond(
  { whyNotReady, metrics }: HealthOptions,
  path: string,
): Promise<{ readonly status: number; readonly text: string }> {
  try {
    switch (path) {
      case "/healthz":
        return { status: 200, text: "ok\n" };
      case "/readyz": {
        const reason = await whyNotReady();
        return reason === undefined
          ? { status: 200, text: "ready\n" }
          : { status: 503, text: `${reason}\n` };
      }
      case "/metrics":
        return { status: 200, text: await metrics() };
      default:
        return { status: 404, text: "there are /healthz, /readyz and /metrics\n" };
    }
  } catch {
    return { status: 500, text: "failed unexpectedly\n" };
  }
}

function listen(server: Server, endpoint: string): Promise<void> {
  const { host, port } = /^(?:(?<host>.*):)?(?<port>\d{1,5})$/u.exec(endpoint)?.groups ?? {};
  if (port === undefined) {
    throw new WeirError("invalid-argument", "the HTTP endpoint must be HOST:PORT or :PORT", {
      details: { endpoint },
    });
  }
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      reject(
        new WeirError("invalid-argument", "the HTTP endpoint is not free or not of this machine", {
          details: { endpoint },
          cause,
        }),
      );
    });
    server.listen({ port: Number(port), ...(host === "" ? {} : { host }) }, resolve);
  });
}
