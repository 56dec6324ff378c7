// A client of a gRPC service at a unix socket, as kubelet and the sidecars are: by one of the
// services in core/csi/generated. Each has a connection of its own, as kubelet's calls do.
import { Client, credentials, Metadata, type MethodDefinition } from "@grpc/grpc-js";

export class RpcClient implements Disposable {
  readonly #client: Client;

  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      // A connection that failed in one test must not make another wait.
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  untilConnected(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(Date.now() + timeoutMs, (error) =>
        error === undefined || error === null ? resolve() : reject(error),
      );
    });
  }

  /** Rejects with gRPC's ServiceError; aborting cancels the call. */
  call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Response> {
    const { path, requestSerialize, responseDeserialize } = method;
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        ...([path, requestSerialize, responseDeserialize, request, new Metadata()] as const),
        (error, response) => {
          if (error !== null) reject(error);
          else if (response === undefined) reject(new Error(`${path} answered nothing`));
          else resolve(response);
        },
      );
      options.signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }
}

/** One call over a connection of its own. */
export async function callOnce<Request, Response>(
  socketPath: string,
  method: MethodDefinition<Request, Response>,
  request: Request,
): Promise<Response> {
  using client = new RpcClient(socketPath);
  return await client.call(method, request);
}
