// Volume and Snapshot on a real API server without Weir: their CRDs, created and served.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse } from "yaml";
import { z } from "zod";
import type { ClientKube } from "../../core/kube/client-kube.ts";
import { defineKind, MetadataSchema } from "../../core/kube/kind.ts";
import { SNAPSHOT } from "../../crds/snapshot.ts";
import { VOLUME } from "../../crds/volume.ts";
import { checkout } from "../../hack/places.ts";

const CRD = defineKind({
  group: "apiextensions.k8s.io",
  version: "v1",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
  schema: z.looseObject({ metadata: MetadataSchema }),
});
const TRIES = 600;

export async function installCrds(kube: ClientKube): Promise<void> {
  const call = { signal: new AbortController().signal };
  for (const file of ["volumes.yaml", "snapshots.yaml"]) {
    const text = readFileSync(join(checkout, "crds", file), "utf8");
    const made = await kube.create(CRD, z.looseObject({}).parse(parse(text)), call);
    if (made.kind !== "created") throw new Error(`${file}: ${JSON.stringify(made)}`);
  }
  // Created, a kind is served by and by.
  const isServed = async (kind: typeof VOLUME | typeof SNAPSHOT): Promise<boolean> =>
    (await (kind === VOLUME ? kube.list(VOLUME, {}, call) : kube.list(SNAPSHOT, {}, call)).catch(
      () => undefined,
    )) !== undefined;
  for (const kind of [VOLUME, SNAPSHOT]) {
    for (let tries = 0; !(await isServed(kind)); tries += 1) {
      if (tries === TRIES) throw new Error(`the API server does not serve ${kind.plural}`);
      await sleep(50);
    }
  }
}
