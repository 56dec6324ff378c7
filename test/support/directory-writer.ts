// A process that writes objects into a directory store until it is killed, and says so after each
// one:
//   node directory-writer.ts ROOT FIRST-NUMBER
import { realClock, realRandom } from "../../core/runtime/real-ports.ts";
import { DirectoryStore } from "../../core/store/directory-store.ts";

/** The bytes of object `number`: any mix or cut of two bodies shows. */
export function bodyOf(number: number): Uint8Array {
  return new Uint8Array(256 * 1024).fill(number & 0xff);
}

export const keyOf = (number: number): string => `log/${String(number).padStart(6, "0")}`;

const [root, first] = process.argv.slice(2);
if (import.meta.main && root !== undefined) {
  const store = new DirectoryStore({ root, clock: realClock, random: realRandom });
  for (let number = Number(first); ; number += 1) {
    const { kind } = await store.create(keyOf(number), bodyOf(number));
    process.stdout.write(`${number} ${kind}\n`);
  }
}
