// A listening unix socket under a public name that several processes use one after the other, as
// in a rolling update. It is bound under a hidden name of its own and renamed: so the public name
// never leads nowhere, and closing the server, which removes the path it was bound at, never
// takes away a successor's socket. The public name is left in place by everybody: kubelet must
// never meet a dangling link.
import { chmod, mkdir, rename, rm, stat } from "node:fs/promises";
import { createConnection, type Server } from "node:net";
import { basename, dirname, join } from "node:path";

import { WeirError } from "../runtime/errors.ts";
import type { Random } from "../runtime/ports.ts";

/** sockaddr_un holds 108 bytes, the last one is the terminator. */
const SOCKET_PATH_BYTES_MAX = 107;

export interface HiddenSocketOptions {
  readonly server: Server;
  readonly socketPath: string;
  readonly random: Random;
}

/** Resolves to the socket's inode when clients of the public name reach this server. */
export async function bindHidden(options: HiddenSocketOptions): Promise<bigint> {
  const { server, socketPath, random } = options;
  // kubelet ignores names that begin with a dot. One folder for each attempt: with a fixed name,
  // a predecessor that closes would remove this socket between bind and rename.
  const folder = join(dirname(socketPath), `.${random.hex32().slice(0, 8)}`);
  const hidden = join(folder, "s");
  if (Buffer.byteLength(hidden) > SOCKET_PATH_BYTES_MAX) {
    throw new WeirError(
      "invalid-argument",
      "the path of a socket can have 107 bytes at most: choose a shorter directory",
      { details: { path: socketPath } },
    );
  }
  try {
    await mkdir(dirname(socketPath), { recursive: true });
    // Closed to others until the socket in it has its mode.
    await mkdir(folder, { mode: 0o700 });
    await listen(server, hidden);
    await chmod(hidden, 0o600);
    const { ino } = await stat(hidden, { bigint: true });
    await rename(hidden, socketPath);
    return ino;
  } catch (cause) {
    throw new WeirError(
      "invalid-argument",
      "the socket cannot be made there: check that the directory exists and may be written",
      { details: { path: join(dirname(socketPath), basename(socketPath)) }, cause },
    );
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

export type SocketHolder =
  /** The public name leads to the socket with this inode. */
  | "own"
  /** Another process took the name over and answers. */
  | "other"
  /** Nobody answers there: the holder ended. */
  | "dead";

export async function holderOf(socketPath: string, ino: bigint): Promise<SocketHolder> {
  const found = await stat(socketPath, { bigint: true }).catch(() => undefined);
  if (found?.ino === ino) return "own";
  return found !== undefined && (await answers(socketPath)) ? "other" : "dead";
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
