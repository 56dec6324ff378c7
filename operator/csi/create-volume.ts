// CreateVolume: makes the Volume object and waits until the reconciler says that the volume is in
// the bucket. The object's name follows from the request's, so a repeated call finds its own work,
// and two calls at once (even of two operators) make one volume.
//
// A failure for good takes the object away again: the provisioner forgets a volume after it, and
// nobody would ever delete it.
import { CreateVolumeResponse, type CreateVolumeRequest } from "../../core/csi/generated/csi.ts";
import { FAULTS, WeirError } from "../../core/runtime/errors.ts";
import { findCondition } from "../../crds/conditions.ts";
import { formatQuantity, quantityBytes } from "../../crds/quantity.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { VOLUME, type Volume, type VolumeSource } from "../../crds/volume.ts";
import { DRIVER } from "../../core/csi/driver.ts";
import { ANNOTATIONS } from "../driver.ts";
import { finalFault, isDeleting, isReady, sizeBytesOf } from "../volume-state.ts";
import { volumeAnswer } from "./answers.ts";
import { parseCreateVolume, type WantedVolume } from "./create-request.ts";
import { claimIn } from "./parameters.ts";
import { Refusal } from "./refusal.ts";
import {
  isOver,
  missing,
  objectNameOf,
  READY_MS,
  type RpcCall,
  type ServiceParts,
} from "./service-parts.ts";
import { DEFAULT_BYTES, parseSize, type SizeRange } from "./size.ts";

/** Short enough that what follows fits into the sidecars' timeout, too. */
const LEAVING_MS = 10_000;

export async function createVolume(
  parts: ServiceParts,
  request: CreateVolumeRequest,
  call: RpcCall,
): Promise<CreateVolumeResponse> {
  try {
    const wanted = parseCreateVolume(request);
    await parts.backend.check(call.signal);
    const key = { kind: "volume", name: wanted.name, what: "created" } as const;
    const volume = await parts.inFlight.run(key, () => create(parts, wanted, call));
    return CreateVolumeResponse.fromPartial({ volume: volumeAnswer(volume) });
  } catch (cause) {
    await tellClaim(parts, { request, cause, call });
    throw cause;
  }
}

async function create(parts: ServiceParts, wanted: WantedVolume, call: RpcCall): Promise<Volume> {
  const present = await presentVolume(parts, wanted.name, call);
  const volume =
    present === undefined ? await makeObject(parts, wanted, call) : sameVolume(present, wanted);
  return untilReady(parts, volume, call);
}

/** A former volume of this name may be on its way out: its data goes when nothing needs it. */
async function presentVolume(
  parts: ServiceParts,
  name: string,
  call: RpcCall,
): Promise<Volume | undefined> {
  const present = await parts.api.get(VOLUME, { name }, call);
  if (present === undefined || !isDeleting(present)) return present;
  const { uid } = present.metadata;
  using signal = parts.clock.deadline(LEAVING_MS, call.signal);
  try {
    await parts.volumes.when(name, (now) => now?.metadata.uid !== uid, signal);
  } catch (cause) {
    if (!isOver(cause, call)) throw cause;
  }
  return parts.api.get(VOLUME, { name }, call);
}

async function makeObject(
  parts: ServiceParts,
  wanted: WantedVolume,
  call: RpcCall,
): Promise<Volume> {
  const { name, labels, parameters, source } = wanted;
  const sourceBytes = await sizeOfSource(parts, source, call);
  const { leastBytes } = sizeFor(wanted, sourceBytes);
  if (sourceBytes !== undefined && leastBytes < sourceBytes) {
    throw new Refusal("SizeInvalid", "the volume must not be smaller than its source", {
      code: "out-of-range",
      details: { requiredBytes: leastBytes, sourceBytes },
    });
  }
  const spec = {
    size: formatQuantity(leastBytes),
    ...parameters,
    ...(source === undefined ? {} : { source }),
  };
  const metadata = { name, labels, annotations: { [ANNOTATIONS.provisionedBy]: DRIVER } };
  const made = await parts.api.create(VOLUME, { metadata, spec }, call);
  switch (made.kind) {
    case "created":
      return made.object;
    case "exists":
      throw new WeirError("aborted", "another call is creating the volume: try again");
    case "invalid":
    default:
      throw new WeirError("invalid-argument", `the API server refused the Volume: ${made.message}`);
  }
}

function sizeFor(wanted: WantedVolume, sourceBytes: number | undefined): SizeRange {
  return parseSize(wanted.range, { defaultBytes: sourceBytes ?? DEFAULT_BYTES });
}

/** The present volume, when it is what the request asks for. */
function sameVolume(present: Volume, wanted: WantedVolume): Volume {
  const { spec } = present;
  if (isDeleting(present)) {
    throw new WeirError("aborted", "the former volume of this name is still being deleted");
  }
  const size = sizeFor(wanted, sizeBytesOf(present));
  const sizeBytes = sizeBytesOf(present);
  const isSame =
    JSON.stringify(spec.source) === JSON.stringify(wanted.source) &&
    spec.durability === wanted.parameters.durability &&
    spec.maxDirtyAge === wanted.parameters.maxDirtyAge &&
    sizeBytes >= size.leastBytes &&
    sizeBytes <= size.mostBytes;
  if (isSame) return present;
  throw new WeirError(
    "name-taken",
    "a volume of this name exists already, but with another size, source or parameter",
    { details: { name: present.metadata.name, size: spec.size } },
  );
}

/** Throws `not-found` when there is no such source. */
async function sizeOfSource(
  parts: ServiceParts,
  source: VolumeSource | undefined,
  call: RpcCall,
): Promise<number | undefined> {
  if (source === undefined) return undefined;
  if ("volume" in source) {
    const name = objectNameOf(source.volume);
    const found = name === undefined ? undefined : await parts.api.get(VOLUME, { name }, call);
    if (found === undefined || isDeleting(found)) throw missing("volume", source.volume);
    return sizeBytesOf(found);
  }
  const name = objectNameOf(source.snapshot);
  const found = name === undefined ? undefined : await parts.api.get(SNAPSHOT, { name }, call);
  if (found === undefined || isDeleting(found)) throw missing("snapshot", source.snapshot);
  const size = found.status?.size;
  if (size === undefined || !isReady(found)) {
    throw new WeirError("aborted", "the snapshot is not ready yet: try again", {
      details: { snapshot: source.snapshot },
    });
  }
  return quantityBytes(size);
}

async function untilReady(parts: ServiceParts, volume: Volume, call: RpcCall): Promise<Volume> {
  const { name, uid } = volume.metadata;
  using signal = parts.clock.deadline(READY_MS, call.signal);
  const isOurs = (seen: Volume | undefined): seen is Volume => seen?.metadata.uid === uid;
  let seen: Volume | undefined;
  try {
    seen = await parts.volumes.when(
      name,
      (now) => isOurs(now) && (isReady(now) || isDeleting(now) || finalFault(now) !== undefined),
      signal,
    );
  } catch (cause) {
    if (!isOver(cause, call)) throw cause;
    throw late(parts.volumes.get(name));
  }
  if (!isOurs(seen) || isDeleting(seen)) {
    throw new WeirError("aborted", "the volume was deleted while it was being created");
  }
  const fault = isReady(seen) ? undefined : finalFault(seen);
  if (fault === undefined) return seen;
  if (seen.metadata.annotations?.[ANNOTATIONS.provisionedBy] === DRIVER) {
    await parts.api.delete(VOLUME, { name, uid }, call);
  }
  throw fault;
}

function late(volume: Volume | undefined): WeirError {
  const ready = findCondition(volume?.status?.conditions, "Ready");
  const why = ready?.status === "False" ? `: ${ready.message}` : ": is the operator running?";
  return new WeirError("deadline-exceeded", `the volume is not ready yet${why}`);
}

/** Why a claim stays pending, in one word for programs and one sentence for people. */
async function tellClaim(
  parts: ServiceParts,
  failure: {
    readonly request: CreateVolumeRequest;
    readonly cause: unknown;
    readonly call: RpcCall;
  },
): Promise<void> {
  const { request, cause, call } = failure;
  if (!(cause instanceof WeirError) || call.signal.aborted) return;
  const { reason, retryable } = FAULTS[cause.code];
  // The provisioner asks again by itself; a store that does not answer is worth telling.
  if (retryable && cause.code !== "store-unavailable") return;
  const news = {
    reason: cause instanceof Refusal ? cause.reason : reason,
    note: cause.message,
    action: "CreateVolume",
  };
  await parts.people.tellClaim(claimIn(request.parameters), news, call.signal);
}
