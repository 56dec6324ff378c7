// The log of a command that does an engine's work in its own process: people read it, so a
// warning is a note of one sentence instead of a line of JSON.
import { z } from "zod";

import { createLogger, type Logger } from "../../core/runtime/log.ts";
import type { Output } from "./output.ts";

const logLine = z
  .string()
  .transform((text) => parseJson(text))
  .pipe(z.object({ msg: z.string() }));

export function noteLogger(out: Output): Logger {
  const write = (line: string): void => {
    const parsed = logLine.safeParse(line);
    if (parsed.success) out.note(`weir: ${parsed.data.msg}`);
  };
  return createLogger({ level: "warn", name: "cli", destination: { write } });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
