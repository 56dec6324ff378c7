// The control socket's file: exists under its final name only when it is ready to be used,
// belongs to its user alone, and one left behind by an engine that died is replaced.
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { createConnection, type Server } from "node:net";
import { dirname, join } from "node:path";

import { WeirError } from "../../core/runtime/errors.ts";
import type { Random } from "../../core/runtime/ports.ts";

/** sockaddr_un holds 108 bytes, the last one is the terminator. */
const SOCKET_PATH_BYTES_MAX = 107;

export function controlSocketPath(runDirectory: string): string {
  return join(runDirectory, "control.sock");
}

/**
 * Listens and puts the socket in its place; the result takes it away again, if it is still ours.
 */
export async function bindControlSocket(options: {
  readonly server: Server;
  readonly socketPath: string;
  readonly random: Random;
  /** The engine that has the name is being taken over from: it loses the name, and lives. */
  readonly replace?: boolean;
}): Promise<() => Promise<void>> {
  const { server, socketPath, random, replace = false } = options;
  const directory = dirname(socketPath);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  if (!replace) await refuseLive(socketPath);
  // The folder is closed to others until the socket in it has its mode.
  const hidden = join(directory, `.c-${random.hex32().slice(0, 8)}`);
  const bound = join(hidden, "s");
  refuseLong(bound);
  await mkdir(hidden, { mode: 0o700 });
  try {
    await listen(server, bound);
    await chmod(bound, 0o600);
    const { ino } = await stat(bound);
    await rename(bound, socketPath);
    return () => removeOwn(socketPath, ino);
  } finally {
    await rm(hidden, { recursive: true, force: true });
  }
}

async function refuseLive(socketPath: string): Promise<void> {
  if (!(await isServed(socketPath))) return;
  throw new WeirError(
    "in-use",
    "another engine serves here: stop it first, or give this one its own run and state directories",
    { details: { socket: socketPath } },
  );
}

/**
 * Whether an engine listens there. A file without a process behind it refuses connections at
 * once; what cannot be seen is taken for alive, so that it is never replaced.
 */
export async function isServed(socketPath: string): Promise<boolean> {
  refuseLong(socketPath);
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (cause: NodeJS.ErrnoException) => {
      resolve(cause.code !== "ENOENT" && cause.code !== "ECONNREFUSED");
    });
  });
}

function refuseLong(path: string): void {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return;
  throw new WeirError(
    "invalid-argument",
    "the path of a socket can have 107 bytes at most: choose a shorter run directory",
    { details: { path } },
  );
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error): void => {
      reject(
        new WeirError("internal", "the control socket cannot be made: check the run directory", {
          details: { path },
          cause,
        }),
      );
    };
    server.once("error", onError);
    server.listen(path, () => {
      server.off("error", onError);
      resolve();
    });
  });
}

/** A successor may have put its own socket under the name meanwhile. */
async function removeOwn(socketPath: string, ino: number): Promise<void> {
  const found = await stat(socketPath).catch(() => undefined);
  if (found?.ino === ino) await rm(socketPath, { force: true });
}
