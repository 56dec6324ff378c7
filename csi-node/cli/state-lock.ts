// One engine per state directory: a second one would claim the epochs of volumes that the first
// one serves, and so fence them, before it meets the journals' own locks. The lock is an abstract
// unix socket: binding it is atomic, and the kernel lets go of it together with the process,
// however that ends.
//
// Limit: it is seen within one network namespace only; across them the journals' locks remain.
import { mkdir, stat } from "node:fs/promises";
import { createServer } from "node:net";

import { WeirError } from "../../core/runtime/errors.ts";

/** Makes the directory when it is not there, and takes the lock until it is disposed of. */
export async function lockState(directory: string): Promise<AsyncDisposable> {
  const name = await lockName(directory);
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(cause.code === "EADDRINUSE" ? taken(directory) : unusable(directory, cause));
    });
    server.listen(name, resolve);
  });
  // It must not keep a process alive that has nothing else to do.
  server.unref();
  return {
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
      }),
  };
}

/** The same for every path that leads to the directory. */
async function lockName(directory: string): Promise<string> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const { dev, ino } = await stat(directory, { bigint: true });
    return `\0weir-state-${dev}-${ino}`;
  } catch (cause) {
    throw unusable(directory, cause);
  }
}

function taken(directory: string): WeirError {
  return new WeirError(
    "journal-busy",
    "another engine works in this state directory: give the command its --run, or stop it first",
    { details: { directory } },
  );
}

function unusable(directory: string, cause: unknown): WeirError {
  return new WeirError(
    "journal-failed",
    "the state directory cannot be used: choose another one with --state, or use root",
    { details: { directory }, cause },
  );
}
