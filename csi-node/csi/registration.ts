// Tells kubelet about the driver, without a sidecar: serves the registration service at a socket
// in the plugin's own folder, and leaves a symbolic link to it in the folder that kubelet watches.
// A new process renames its socket over the old one behind the link, which kubelet does not notice:
// so a rolling update never takes the driver off the node.
//
// kubelet forgets a link that it found dangling, and dials one that it found dead ever more seldom
// for two minutes; a link with another name is dialed at once. So when kubelet does not come, the
// link gets its next name. Crash anywhere: the next process finds the links as they are.
import { readdir, readFile, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

import { RegistrationService } from "../../core/csi/generated/pluginregistration.ts";
import { rpcService, type RpcService } from "../../core/csi/rpc-service.ts";
import { WeirError } from "../../core/runtime/errors.ts";
import type { Logger } from "../../core/runtime/log.ts";
import type { Clock, Random } from "../../core/runtime/ports.ts";
import { whenAborted } from "../../core/runtime/timer-signals.ts";

const REGISTRATION_VERSIONS = ["1.0.0"];
/** kubelet looks at a new link within a second. */
const KUBELET_PATIENCE_MS = 5_000;
const KUBELET_PATIENCE_MAX_MS = 120_000;

export interface RegistrationOptions {
  readonly driver: string;
  /** Where kubelet finds the CSI socket, as a path of the host. */
  readonly endpoint: string;
  /** The plugin's own folder, as this process sees it; the registration socket is in it. */
  readonly pluginDirectory: string;
  /** Beside it, as this process sees it: the folder that kubelet watches. */
  readonly registryDirectory: string;
  /** Differs after every start of the machine. */
  readonly bootId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Kept in the plugin's folder: a hot replacement gets no call by which to learn it. */
const Registered = z.object({ link: z.string(), bootId: z.string() });

export class Registration {
  readonly #options: RegistrationOptions;
  /** What a rename replaces, so it is left in place for good. */
  readonly socketPath: string;
  #isRegistered = false;
  #asked: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.socketPath = join(options.pluginDirectory, "reg.sock");
  }

  get isRegistered(): boolean {
    return this.#isRegistered;
  }

  service(): RpcService {
    const { driver, endpoint } = this.#options;
    return rpcService(RegistrationService, {
      getInfo: () => {
        this.#asked.resolve();
        const supportedVersions = REGISTRATION_VERSIONS;
        return Promise.resolve({ type: "CSIPlugin", name: driver, endpoint, supportedVersions });
      },
      // May come to a process that never saw GetInfo.
      notifyRegistrationStatus: async ({ pluginRegistered, error }) => {
        this.#asked.resolve();
        this.#isRegistered = pluginRegistered;
        await this.#note(pluginRegistered, error);
        return {};
      },
    });
  }

  /**
   * Call it when both sockets answer. Resolves when kubelet has come, or when the last process was
   * registered already; rejects only with the signal.
   */
  async announce(signal: AbortSignal): Promise<void> {
    const links = await this.#links();
    const first = links[0];
    const before = await this.#readNote();
    const isKept = first !== undefined && links.length === 1 && before?.link === first.name;
    if (isKept && first.isRight && before.bootId === this.#options.bootId) {
      this.#isRegistered = true;
      this.#options.log.info({ link: first.name }, "kubelet knows this driver already");
      return;
    }
    await this.#callKubelet(signal);
  }

  /** Changes the link's name until kubelet comes. */
  async #callKubelet(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    for (
      let waitMs = KUBELET_PATIENCE_MS;
      ;
      waitMs = Math.min(waitMs * 2, KUBELET_PATIENCE_MAX_MS)
    ) {
      this.#asked = Promise.withResolvers();
      const link = await this.#relink();
      using patience = clock.deadline(waitMs, signal);
      const isOver = whenAborted(patience).then(() => "over" as const);
      const came = await Promise.race([this.#asked.promise, isOver]);
      if (signal.aborted) throw new WeirError("aborted", "the node service is ending");
      if (came !== "over") return;
      log.warn({ link, waitMs }, "kubelet did not come to register the driver: trying a new link");
    }
  }

  /** Makes the next link, then removes the others: kubelet sees one step. */
  async #relink(): Promise<string> {
    const { registryDirectory, random, driver } = this.#options;
    const links = await this.#links();
    const used = new Set(links.map(({ name }) => name));
    const numbers = Array.from({ length: links.length + 1 }, (_none, index) => index);
    const free = numbers.map((number) => linkName(driver, number)).find((name) => !used.has(name));
    const name = free ?? linkName(driver, links.length);
    const hidden = join(registryDirectory, `.${random.hex32().slice(0, 8)}`);
    try {
      await symlink(this.#target(), hidden);
      await rename(hidden, join(registryDirectory, name));
      for (const link of links) await rm(join(registryDirectory, link.name), { force: true });
    } catch (cause) {
      throw this.#unusable(cause);
    }
    return name;
  }

  /** What of ours is in the watched folder, whatever process and release left it there. */
  async #links(): Promise<readonly { readonly name: string; readonly isRight: boolean }[]> {
    const { registryDirectory, driver } = this.#options;
    const names = await readdir(registryDirectory).catch((cause: unknown) => {
      throw this.#unusable(cause);
    });
    const ours = names.filter((name) => name.startsWith(`${driver}-reg`)).toSorted();
    return Promise.all(
      ours.map(async (name) => {
        const target = await readlink(join(registryDirectory, name)).catch(() => undefined);
        return { name, isRight: target === this.#target() };
      }),
    );
  }

  #unusable(cause: unknown): WeirError {
    const { registryDirectory } = this.#options;
    return new WeirError(
      "invalid-argument",
      "kubelet's registration folder cannot be used: check the path and that it may be written",
      { details: { registryDirectory }, cause },
    );
  }

  /** Relative, because the folders have other paths in this container than on the host. */
  #target(): string {
    return join("..", "plugins", this.#options.driver, "reg.sock");
  }

  async #note(isRegistered: boolean, error: string): Promise<void> {
    const { log, bootId } = this.#options;
    const link = (await this.#links())[0]?.name;
    if (!isRegistered) {
      await rm(this.#notePath(), { force: true });
      log.warn({ link, error }, "kubelet refused to register the driver");
      return;
    }
    log.info({ link }, "kubelet registered the driver");
    if (link === undefined) return;
    await writeFile(
      this.#notePath(),
      JSON.stringify({ link, bootId } satisfies z.infer<typeof Registered>),
    );
  }

  async #readNote(): Promise<z.infer<typeof Registered> | undefined> {
    const text = await readFile(this.#notePath(), "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      return Registered.parse(JSON.parse(text));
    } catch {
      // Half written when the machine stopped: then kubelet is asked anew.
      return undefined;
    }
  }

  #notePath(): string {
    return join(this.#options.pluginDirectory, "registered.json");
  }
}

function linkName(driver: string, number: number): string {
  return number === 0 ? `${driver}-reg.sock` : `${driver}-reg-${number}.sock`;
}
