// The parameters of StorageClasses and VolumeSnapshotClasses. A key that is not known is refused: a
// misspelt parameter must not be a silent default.
import { LABELS } from "../../crds/common-fields.ts";
import { durationMs, parseDuration, type Duration } from "../../crds/quantity.ts";
import { durabilitySchema, type Durability } from "../../crds/volume.ts";
import { Refusal } from "./refusal.ts";

const DIRTY_AGE_MIN_MS = 10;
const DIRTY_AGE_MAX_MS = 24 * 3_600_000;

const CLAIM_NAME = "csi.storage.k8s.io/pvc/name";
const CLAIM_NAMESPACE = "csi.storage.k8s.io/pvc/namespace";
const VOLUME_NAME = "csi.storage.k8s.io/pv/name";

/** What a person may set. */
const CLASS_KEYS = ["durability", "maxDirtyAge"];
/** What the provisioner adds, or leaves in. */
const VOLUME_KEYS = [CLAIM_NAME, CLAIM_NAMESPACE, VOLUME_NAME, "csi.storage.k8s.io/fstype"];
const SNAPSHOT_KEYS = [
  "csi.storage.k8s.io/volumesnapshot/name",
  "csi.storage.k8s.io/volumesnapshot/namespace",
  "csi.storage.k8s.io/volumesnapshotcontent/name",
];

export type Parameters = Readonly<Record<string, string>>;

export interface VolumeParameters {
  readonly durability: Durability;
  readonly maxDirtyAge?: Duration;
}

export function parseVolumeParameters(parameters: Parameters): VolumeParameters {
  refuseUnknown(parameters, { known: [...CLASS_KEYS, ...VOLUME_KEYS], shown: CLASS_KEYS });
  const { maxDirtyAge, durability = "local" } = parameters;
  const parsed = durabilitySchema.safeParse(durability);
  if (!parsed.success) {
    const message = `durability must be "local" or "s3", not "${durability}"`;
    throw new Refusal("ParameterInvalid", message);
  }
  return {
    durability: parsed.data,
    ...(maxDirtyAge === undefined ? {} : { maxDirtyAge: parseDirtyAge(maxDirtyAge) }),
  };
}

export function checkSnapshotParameters(parameters: Parameters): void {
  refuseUnknown(parameters, { known: SNAPSHOT_KEYS, shown: [] });
}

/** The claim a request is made for, where the provisioner tells. */
export function claimIn(parameters: Parameters): {
  readonly name: string | undefined;
  readonly namespace: string | undefined;
} {
  return { name: parameters[CLAIM_NAME], namespace: parameters[CLAIM_NAMESPACE] };
}

export function labelsIn(parameters: Parameters): Record<string, string> {
  const pairs: readonly (readonly [string, string | undefined])[] = [
    [LABELS.pvcName, parameters[CLAIM_NAME]],
    [LABELS.pvcNamespace, parameters[CLAIM_NAMESPACE]],
    [LABELS.pvName, parameters[VOLUME_NAME]],
  ];
  const labels: Record<string, string> = {};
  for (const [label, value] of pairs) {
    if (value !== undefined && LABEL_VALUE.test(value)) labels[label] = value;
  }
  return labels;
}

/** A claim's name may be longer than a label's value; then there is no label. */
const LABEL_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/u;

function parseDirtyAge(text: string): Duration {
  const duration = parseDuration(text, "maxDirtyAge");
  const milliseconds = durationMs(duration);
  if (milliseconds >= DIRTY_AGE_MIN_MS && milliseconds <= DIRTY_AGE_MAX_MS) return duration;
  throw new Refusal("ParameterInvalid", `maxDirtyAge must be from 10ms to 24h, not "${text}"`);
}

function refuseUnknown(
  parameters: Parameters,
  { known, shown }: { readonly known: readonly string[]; readonly shown: readonly string[] },
): void {
  const unknown = Object.keys(parameters).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const allowed = shown.length === 0 ? "there are none" : `there are ${shown.join(" and ")}`;
  throw new Refusal(
    "ParameterUnknown",
    `the class has the unknown parameter "${unknown}": ${allowed}`,
  );
}
