// Stands between a program and the API server, and counts what the program asks for: plain HTTP on
// loopback in front, the server's own connection behind.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Agent, request } from "node:https";
import type { KubeApiServer } from "../../test/support/kube-apiserver.ts";

export interface KubeRelay extends AsyncDisposable {
  readonly address: string;
  /** Requests since the last question, by what they asked: `GET volumes`, `PATCH leases`. */
  take(): ReadonlyMap<string, number>;
}

export async function startKubeRelay(server: KubeApiServer): Promise<KubeRelay> {
  let counts = new Map<string, number>();
  const agent = new Agent({ keepAlive: true, ...server.config().tls });
  const relay = createServer((asked, answer) => {
    const what = `${asked.method} ${resourceOf(asked.url ?? "/")}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
    pass(asked, answer, { agent, port: server.port });
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const place = relay.address();
  if (place === null || typeof place === "string") throw new Error("no port was given");
  return {
    address: `http://127.0.0.1:${place.port}`,
    take() {
      const taken = counts;
      counts = new Map();
      return taken;
    },
    async [Symbol.asyncDispose]() {
      relay.closeAllConnections();
      relay.close();
      agent.destroy();
    },
  };
}

function pass(
  asked: IncomingMessage,
  answer: ServerResponse,
  to: { readonly agent: Agent; readonly port: number },
): void {
  const onward = request({
    ...{ host: "127.0.0.1", port: to.port, agent: to.agent },
    ...{ method: asked.method, path: asked.url, headers: asked.headers },
  });
  onward.on("response", (found) => {
    answer.writeHead(found.statusCode ?? 502, found.headers);
    // A watch has nothing to say at first, but the head of its answer is news.
    answer.flushHeaders();
    found.pipe(answer);
  });
  onward.on("error", () => answer.destroy());
  answer.on("close", () => onward.destroy());
  asked.pipe(onward);
}

/** `/apis/weir.storage/v1alpha1/volumes/v/status?force=true` is about `volumes`. */
function resourceOf(url: string): string {
  const parts = (url.split("?")[0] ?? "").split("/").slice(1);
  const rest = parts.slice(parts[0] === "api" ? 2 : 3);
  const isNamespaced = rest[0] === "namespaces" && rest.length > 2;
  return (isNamespaced ? rest[2] : rest[0]) ?? "";
}
