// The controllers, and which change of what wakes whom. Only the leader runs them.
import { Controller, type ReconcileReport } from "../../core/kube/controller.ts";
import { CSI_NODE, PERSISTENT_VOLUME } from "../../core/kube/kinds.ts";
import { Reflector } from "../../core/kube/reflector.ts";
import type { OperatorParts } from "../parts.ts";
import { reconcilePersistentVolume } from "./persistent-volume/act.ts";
import { reconcileSnapshot } from "./snapshot/act.ts";
import { reconcileVolume } from "./volume/act.ts";
import {
  snapshotsForVolume,
  volumesForPersistentVolume,
  volumesForSnapshot,
  volumesForVolume,
} from "./wakes.ts";

const CONCURRENCY = 16;
/** Deleting a large volume takes many requests; what is cut off goes on at the next attempt. */
const DEADLINE_MS = 10 * 60_000;

export interface ReconcilersOptions {
  readonly parts: OperatorParts;
  readonly onReconciled: (controller: string, report: ReconcileReport) => void;
}

/** Runs until it is disposed; that waits for the reconciles under way, which are told to stop. */
export function startReconcilers({ parts, onReconciled }: ReconcilersOptions): AsyncDisposable {
  const { api, clock, random, log, backend, volumes, snapshots } = parts;
  const stack = new AsyncDisposableStack();
  const common = { clock, random, log };
  const persistentVolumes = stack.use(new Reflector({ ...common, api, kind: PERSISTENT_VOLUME }));
  const csiNodes = stack.use(new Reflector({ ...common, api, kind: CSI_NODE }));
  const pace = { ...common, concurrency: CONCURRENCY, deadlineMs: DEADLINE_MS };
  const byHandle = {
    source: persistentVolumes,
    keysOf: (name: string) => volumesForPersistentVolume(persistentVolumes.get(name), name),
  };
  const volume = stack.use(
    new Controller({
      ...pace,
      name: "volume",
      source: volumes,
      also: [
        { source: volumes, keysOf: (name) => volumesForVolume(parts, name) },
        { source: snapshots, keysOf: (name) => volumesForSnapshot(parts, name) },
        byHandle,
      ],
      reconcile: (name, signal) =>
        reconcileVolume({ parts, persistentVolumes }, volumes.get(name), signal),
      onReconciled: (report) => onReconciled("volume", report),
    }),
  );
  const snapshot = stack.use(
    new Controller({
      ...pace,
      name: "snapshot",
      source: snapshots,
      also: [
        { source: volumes, keysOf: (name) => snapshotsForVolume(parts, name) },
        { source: csiNodes, keysOf: () => [] },
      ],
      reconcile: (name, signal) =>
        reconcileSnapshot({ parts, csiNodes }, snapshots.get(name), signal),
      onReconciled: (report) => onReconciled("snapshot", report),
    }),
  );
  stack.use(
    new Controller({
      ...pace,
      name: "persistent-volume",
      source: volumes,
      also: [byHandle],
      reconcile: (name, signal) =>
        reconcilePersistentVolume({ parts, persistentVolumes }, volumes.get(name), signal),
      onReconciled: (report) => onReconciled("persistent-volume", report),
    }),
  );
  const endBackend = backend.onChange(() => {
    for (const { metadata } of volumes.items()) volume.enqueue(metadata.name);
    for (const { metadata } of snapshots.items()) snapshot.enqueue(metadata.name);
  });
  stack.defer(endBackend);
  return stack;
}
