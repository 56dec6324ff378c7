// A TCP relay on loopback that a test can cut, between a client and a real server: requests and
// answers get lost exactly where the test wants.
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
}

/** What to do with a piece of traffic: hand it on, drop it in silence, or cut both connections. */
type Verdict = "pass" | "drop" | "cut";

export interface TrafficRules {
  /** Asked for each chunk, with all bytes of this connection and direction so far, it included. */
  readonly toServer?: (bytes: number) => Verdict;
  readonly toClient?: (bytes: number) => Verdict;
}

export async function startTcpProxy(targetPort: number, rules: TrafficRules): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const target = connect(targetPort, "127.0.0.1");
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      // A broken connection is what these tests are about.
      socket.on("error", () => {});
    }
    relay(client, target, rules.toServer ?? (() => "pass"));
    relay(target, client, rules.toClient ?? (() => "pass"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

function relay(from: Socket, to: Socket, judge: (bytes: number) => Verdict): void {
  let bytes = 0;
  from.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    const verdict = judge(bytes);
    if (verdict === "pass") to.write(chunk);
    if (verdict !== "cut") return;
    from.destroy();
    to.destroy();
  });
  from.once("close", () => to.destroy());
}
