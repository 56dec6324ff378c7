// Splits a stream of bytes into lines of text, as a watch is written. The rest behind the last line
// end is given only when the stream ends well, because a cut stream ends in half a line.

import { WeirError } from "../runtime/errors.ts";

/** An object has at most 1.5 MiB in etcd; JSON and a margin on top. */
const LINE_BYTES_MAX = 16 * 2 ** 20;
const NEWLINE = 0x0a;

export async function* linesOf(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<string, void, undefined> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = Buffer.concat([...held, chunk.subarray(start, end)]).toString("utf8");
      held = [];
      heldBytes = 0;
      start = end + 1;
      if (line !== "") yield line;
    }
    if (start === chunk.length) continue;
    held.push(chunk.subarray(start));
    heldBytes += chunk.length - start;
    if (heldBytes > LINE_BYTES_MAX) {
      throw new WeirError("kube-unavailable", "the API server sent a line of a watch without end", {
        details: { bytes: heldBytes },
      });
    }
  }
  const rest = Buffer.concat(held).toString("utf8");
  if (rest !== "") yield rest;
}
