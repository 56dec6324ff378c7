// What grpc-js must know of a service: the path of each RPC, and how its messages become bytes.
import type { MethodDefinition } from "@grpc/grpc-js";

import type { MessageType } from "./wire.ts";

type Codec<Request, Response> = Omit<MethodDefinition<Request, Response>, "path" | "originalName">;

/** One request, one answer. */
export function rpc<Request, Response, GivenRequest, GivenResponse>(
  request: MessageType<Request, GivenRequest>,
  response: MessageType<Response, GivenResponse>,
): Codec<Request, Response> {
  return {
    requestStream: false,
    responseStream: false,
    requestSerialize: (message) => Buffer.from(request.encode(message)),
    requestDeserialize: (bytes) => request.decode(bytes),
    responseSerialize: (message) => Buffer.from(response.encode(message)),
    responseDeserialize: (bytes) => response.decode(bytes),
  };
}

type Defined<Codecs> = {
  readonly [Name in keyof Codecs]: Codecs[Name] extends Codec<infer Request, infer Response>
    ? MethodDefinition<Request, Response>
    : never;
};

/** `name` is as on the wire, `csi.v1.Node`; its RPCs go by the names that handlers have. */
export function service<Codecs extends object>(name: string, codecs: Codecs): Defined<Codecs>;
export function service(name: string, codecs: Readonly<Record<string, object>>): object {
  return Object.fromEntries(
    Object.entries(codecs).map(([rpc, codec]) => {
      const onWire = rpc.replace(/^./u, (letter) => letter.toUpperCase());
      return [rpc, { ...codec, path: `/${name}/${onWire}` }];
    }),
  );
}
