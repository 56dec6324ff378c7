// Reads the body of an answer into one array of the length that its header promised: never more, so
// an answer cannot fill the memory, and never less, so a cut connection cannot pass for a short
// object.

import { Readable, addAbortSignal } from "node:stream";
import { WeirError } from "../runtime/errors.ts";

export async function readBody(
  body: unknown,
  promisedBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (!(body instanceof Readable)) {
    throw unusable("the S3 service sent an answer without a body", { promisedBytes });
  }
  addAbortSignal(signal, body);
  const bytes = new Uint8Array(promisedBytes);
  let receivedBytes = 0;
  // Leaving this loop early destroys the stream, and with it the connection.
  for await (const chunk of body) {
    if (!(chunk instanceof Uint8Array) || receivedBytes + chunk.length > promisedBytes) {
      throw unusable("the S3 service sent more bytes than it promised", { promisedBytes });
    }
    bytes.set(chunk, receivedBytes);
    receivedBytes += chunk.length;
  }
  if (receivedBytes < promisedBytes) {
    throw unusable("the S3 service sent fewer bytes than it promised", {
      promisedBytes,
      receivedBytes,
    });
  }
  return bytes;
}

/** Ends a body that nobody will read, so that its connection is not held. */
export function dropBody(body: unknown): void {
  if (body instanceof Readable) body.destroy();
}

function unusable(message: string, details: Readonly<Record<string, number>>): WeirError {
  return new WeirError("store-unavailable", message, { details });
}
