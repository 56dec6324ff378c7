// The engine's side of a volume on this node: is it served here, and as which device? Always asked
// of the engine and the kernel, never remembered: this process may have just started.
import { WeirError } from "../../core/runtime/errors.ts";
import type { Clock } from "../../core/runtime/ports.ts";
import type { AttachedVolume, EngineApi } from "../control/engine-api.ts";
import type { BlockDevice, Mounter } from "./mounter.ts";

export interface ServedVolume {
  readonly volumeId: string;
  readonly devicePath: string;
  readonly device: BlockDevice;
  /** By the engine; the device follows a growth a little later. */
  readonly sizeBytes: number;
}

export interface NodeParts {
  readonly engine: EngineApi;
  readonly mounter: Mounter;
  readonly clock: Clock;
}

const DEVICE_WAIT_MS = 10_000;
const DEVICE_POLL_MS = 50;

/** `undefined` when this node's engine does not serve the volume. */
export async function servedVolume(
  parts: NodeParts,
  volumeId: string,
  signal: AbortSignal,
): Promise<ServedVolume | undefined> {
  const { volumes, waiting } = await parts.engine.status({ signal });
  const attached = volumes.find(({ name }) => name === volumeId);
  if (attached !== undefined) return asServed(parts, attached, signal);
  const late = waiting.find(({ name }) => name === volumeId);
  if (late === undefined) return undefined;
  throw notTakenUp(late.fault);
}

/** The engine goes on trying. */
export function notTakenUp(fault: { readonly code: string; readonly message: string }): WeirError {
  return new WeirError(
    "engine-unavailable",
    `the engine could not take up the volume again yet: ${fault.message}`,
    { details: { code: fault.code } },
  );
}

/** Waits until the kernel shows the device. */
export async function asServed(
  { mounter, clock }: NodeParts,
  attached: AttachedVolume,
  signal: AbortSignal,
): Promise<ServedVolume> {
  const { transport, name: volumeId, sizeBytes } = attached;
  if (transport?.kind !== "ublk") {
    throw new WeirError(
      "in-use",
      "the volume is attached on this node without a block device: detach it with `weir detach`",
      { details: { volumeId } },
    );
  }
  const { devicePath } = transport;
  const device = await pollDevice({
    clock,
    signal,
    look: () => mounter.device(devicePath),
    isWanted: (found) => found.sizeBytes > 0,
    late: "the volume's device does not appear: check that /dev of the host is in this container",
    details: { devicePath },
  });
  return { volumeId, devicePath, device, sizeBytes };
}

/** Until the device has the size that the engine gave it. */
export function waitForSize(
  { mounter, clock }: NodeParts,
  options: {
    readonly devicePath: string;
    readonly sizeBytes: number;
    readonly signal: AbortSignal;
  },
): Promise<BlockDevice> {
  const { devicePath, sizeBytes, signal } = options;
  return pollDevice({
    clock,
    signal,
    look: () => mounter.device(devicePath),
    isWanted: (found) => found.sizeBytes >= sizeBytes,
    late: "the device keeps its size on this kernel: stage the volume anew by restarting its pod",
    details: { devicePath, sizeBytes },
  });
}

async function pollDevice(options: {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly look: () => Promise<BlockDevice | undefined>;
  readonly isWanted: (device: BlockDevice) => boolean;
  readonly late: string;
  readonly details: Readonly<Record<string, string | number>>;
}): Promise<BlockDevice> {
  const { clock, signal, look, isWanted, late, details } = options;
  const endMs = clock.monotonicMs() + DEVICE_WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && isWanted(found)) return found;
    if (clock.monotonicMs() >= endMs) {
      throw new WeirError("transport-unavailable", late, { details });
    }
    await clock.sleep(DEVICE_POLL_MS, signal);
  }
}
