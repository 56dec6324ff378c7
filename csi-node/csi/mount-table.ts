// Reads /proc/self/mountinfo (proc(5)): the one truth about what is mounted.
import type { Mount } from "./mounter.ts";

/** `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`. */
export function parseMountTable(text: string): Mount[] {
  return text.split("\n").flatMap((line) => parseLine(line));
}

function parseLine(line: string): Mount[] {
  // The optional fields in the middle end with a hyphen of its own.
  const [left = "", right = ""] = line.split(/ - (.*)/su);
  const [, , device, root, mountPoint, options = ""] = left.split(" ");
  const [fsType, , superOptions = ""] = right.split(" ");
  if (device === undefined || root === undefined) return [];
  if (mountPoint === undefined || fsType === undefined) return [];
  const isReadOnly = (list: string): boolean => list.split(",").includes("ro");
  return [
    {
      device,
      root: unescape(root),
      mountPoint: unescape(mountPoint),
      fsType,
      readOnly: isReadOnly(options) || isReadOnly(superOptions),
    },
  ];
}

/** Space, tab, newline and backslash travel as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\(\d{3})/gu, (_match, digits: string) =>
    String.fromCodePoint(Number.parseInt(digits, 8)),
  );
}
