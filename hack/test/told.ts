// What a failed suite's log says of the failures themselves. Told once more at the very end of a
// run, because whoever keeps only the end of a long output would else learn numbers and no names.
import { stripVTControlCharacters } from "node:util";

const FAILURE = /^(?:not ok |\s*FAIL {2}|\[ {2}FAILED {2}\] |no end within |\S+: stopped after )/u;
const LINES_AFTER = 8;
const LINES_AT_MOST = 60;
const COLUMNS = 240;

/** Lines that name a failure and those that follow them; the log's end when none does. */
export function failuresIn(log: string): readonly string[] {
  const lines = stripVTControlCharacters(log)
    .split("\n")
    .map((line) => line.slice(0, COLUMNS));
  const isTold = lines.map(() => false);
  for (const [at, line] of lines.entries()) {
    if (FAILURE.test(line)) isTold.fill(true, at, at + 1 + LINES_AFTER);
  }
  const told = lines.filter((line, at) => isTold[at] === true && line.trim() !== "");
  if (told.length > 0) return told.slice(0, LINES_AT_MOST);
  return lines.filter((line) => line.trim() !== "").slice(-LINES_AFTER);
}
