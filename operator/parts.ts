// What the parts of the operator are given: ports, the copies of what the API server has, and the
// answer about the store. Whoever makes them owns them.
import type { KubeApi } from "../core/kube/kube-api.ts";
import type { Reflector } from "../core/kube/reflector.ts";
import type { RecordScans } from "../core/log/context.ts";
import type { Logger } from "../core/runtime/log.ts";
import type { Clock, Random } from "../core/runtime/ports.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import type { Snapshot } from "../crds/snapshot.ts";
import type { Volume } from "../crds/volume.ts";
import type { Backend } from "./backend.ts";
import type { People } from "./people.ts";

export interface OperatorParts {
  readonly api: KubeApi;
  readonly store: ObjectStore;
  /** Of that store. */
  readonly scans: RecordScans;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly backend: Backend;
  readonly people: People;
  readonly volumes: Reflector<Volume>;
  readonly snapshots: Reflector<Snapshot>;
}
