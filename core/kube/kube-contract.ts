// The promise of the KubeApi port as one test suite, run against the fake and against real API
// servers. Method: small cases through the port alone on a kind of the suite's own, so whoever
// passes does so by behaviour. Each case names its objects by itself, for servers keep theirs.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { WeirError } from "../runtime/errors.ts";
import { MetadataSchema, defineKind } from "./kind.ts";
import type { KubeApi, WatchEvent, Written } from "./kube-api.ts";

const WidgetSchema = z.object({
  metadata: MetadataSchema,
  spec: z
    .object({
      size: z.number().min(0).optional(),
      color: z.string().optional(),
      tags: z.array(z.string()).optional(),
    })
    .optional(),
  status: z
    .object({
      node: z.string().optional(),
      bytes: z.number().optional(),
      conditions: z
        .array(z.object({ type: z.string(), status: z.string(), reason: z.string().optional() }))
        .optional(),
    })
    .optional(),
});
export type Widget = z.infer<typeof WidgetSchema>;

export const WIDGET = defineKind<Widget>({
  group: "contract.weir.storage",
  version: "v1",
  kind: "Widget",
  plural: "widgets",
  namespaced: false,
  schema: WidgetSchema,
});

/** Ready-made for a real server. */
export const WIDGET_CRD = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "widgets.contract.weir.storage" },
  spec: {
    group: WIDGET.group,
    scope: "Cluster",
    names: { kind: "Widget", listKind: "WidgetList", plural: "widgets", singular: "widget" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: { status: {} },
        selectableFields: [{ jsonPath: ".status.node" }],
        schema: { openAPIV3Schema: widgetShape() },
      },
    ],
  },
};

export function describeKubeContract(name: string, open: () => Promise<KubeApi>): void {
  describe(`the promise of a Kubernetes API: ${name}`, () => {
    const bench: Bench = { api: undefined, stop: new AbortController() };
    beforeAll(async () => {
      bench.api = await open();
    });
    afterAll(() => bench.stop.abort());
    describeReads(() => new Widgets(bench));
    describeMerges(() => new Widgets(bench));
    describeApplies(() => new Widgets(bench));
    describeStatusApplies(() => new Widgets(bench));
    describeDeletes(() => new Widgets(bench));
    describeWatches(() => new Widgets(bench));
  });
}

interface Bench {
  api: KubeApi | undefined;
  readonly stop: AbortController;
}

let widgetCount = 0;

/** One case's view of the server: a widget of its own, and short words for the port's calls. */
class Widgets {
  readonly api: KubeApi;
  readonly call: { readonly signal: AbortSignal };
  readonly name: string;

  constructor(bench: Bench) {
    if (bench.api === undefined) throw new Error("the server is not open yet");
    this.api = bench.api;
    this.call = { signal: bench.stop.signal };
    widgetCount += 1;
    this.name = `widget-${widgetCount}`;
  }

  get ref(): { readonly name: string } {
    return { name: this.name };
  }

  async create(rest: object = {}): Promise<Widget> {
    const made = await this.api.create(WIDGET, { metadata: this.ref, ...rest }, this.call);
    if (made.kind !== "created") throw new Error(`the widget was not created: ${made.kind}`);
    return made.object;
  }

  get(): Promise<Widget | undefined> {
    return this.api.get(WIDGET, this.ref, this.call);
  }

  merge(patch: object): Promise<Written<Widget>> {
    return this.api.merge(WIDGET, this.ref, patch, this.call);
  }

  mergeStatus(status: object): Promise<Written<Widget>> {
    return this.api.merge(WIDGET, this.ref, { status }, { ...this.call, status: true });
  }

  apply(
    manager: string,
    spec: object,
    options: { force?: boolean; metadata?: object; resourceVersion?: string } = {},
  ): Promise<Written<Widget>> {
    const { force = false, metadata, resourceVersion } = options;
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    const object = { metadata: { ...this.ref, ...metadata }, spec };
    return this.api.apply(WIDGET, object, { fieldManager: manager, force, ...version }, this.call);
  }

  applyStatus(manager: string, status: object, force = false): Promise<Written<Widget>> {
    const options = { fieldManager: manager, force, status: true };
    return this.api.apply(WIDGET, { metadata: this.ref, status }, options, this.call);
  }
}

function describeReads(open: () => Widgets): void {
  test("a created object is read back, with what the server adds", async () => {
    const widgets = open();
    const made = await widgets.create({ spec: { size: 1 } });
    expect(made.metadata).toMatchObject({ name: widgets.name, generation: 1 });
    expect(made.metadata.uid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u);
    expect(made.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/u);
    expect(await widgets.get()).toEqual(made);
  });

  test("a second create changes nothing", async () => {
    const widgets = open();
    const made = await widgets.create({ spec: { size: 1 } });
    const again = { metadata: widgets.ref, spec: { size: 2 } };
    expect(await widgets.api.create(WIDGET, again, widgets.call)).toEqual({ kind: "exists" });
    expect(await widgets.get()).toEqual(made);
  });

  test("a create leaves the status out, and refuses what the schema refuses", async () => {
    const widgets = open();
    const bad = { metadata: widgets.ref, spec: { size: -1 } };
    expect(await widgets.api.create(WIDGET, bad, widgets.call)).toMatchObject({ kind: "invalid" });
    expect(await widgets.get()).toBeUndefined();
    const made = await widgets.create({ status: { node: "a" } });
    expect(made.status).toBeUndefined();
  });

  test("a list gives what its selectors ask for", async () => {
    const widgets = open();
    const names = ["one", "two", "three"].map((part) => `${widgets.name}-${part}`);
    for (const [index, name] of names.entries()) {
      const labels = { case: widgets.name, odd: String(index % 2 === 0) };
      await widgets.api.create(WIDGET, { metadata: { name, labels } }, widgets.call);
    }
    const node = `node-of-${widgets.name}`;
    const ref = { name: names[1] ?? "" };
    const statusCall = { ...widgets.call, status: true };
    await widgets.api.merge(WIDGET, ref, { status: { node } }, statusCall);
    const listed = async (options: object): Promise<readonly string[]> => {
      const { items } = await widgets.api.list(WIDGET, options, widgets.call);
      return items.map((item) => item.metadata.name);
    };
    expect(await listed({ labelSelector: `case=${widgets.name}` })).toEqual(names.toSorted());
    const odd = { labelSelector: `case=${widgets.name},odd=true` };
    expect(await listed(odd)).toEqual(names.filter((name) => !name.endsWith("-two")).toSorted());
    expect(await listed({ fieldSelector: `status.node=${node}` })).toEqual([names[1]]);
  });
}

function describeMerges(open: () => Widgets): void {
  test("a merge changes what it names, null takes away, the generation grows", async () => {
    const widgets = open();
    await widgets.create({ spec: { size: 1, color: "red" } });
    const merged = written(await widgets.merge({ spec: { size: 2, color: null } }));
    expect(merged.spec).toEqual({ size: 2 });
    expect(merged.metadata.generation).toBe(2);
    const labelled = written(await widgets.merge({ metadata: { labels: { a: "b" } } }));
    expect(labelled.metadata).toMatchObject({ generation: 2, labels: { a: "b" } });
    expect(await widgets.get()).toEqual(labelled);
  });

  test("a merge writes either the status or the rest", async () => {
    const widgets = open();
    await widgets.create({ spec: { size: 1 } });
    const reported = written(await widgets.mergeStatus({ node: "a" }));
    expect(reported).toMatchObject({ spec: { size: 1 }, status: { node: "a" } });
    expect(reported.metadata.generation).toBe(1);
    const main = written(await widgets.merge({ spec: { size: 2 }, status: { node: "b" } }));
    expect(main).toMatchObject({ spec: { size: 2 }, status: { node: "a" } });
    const both = { spec: { size: 3 }, status: { node: "c" } };
    const call = { ...widgets.call, status: true };
    const status = written(await widgets.api.merge(WIDGET, widgets.ref, both, call));
    expect(status).toMatchObject({ spec: { size: 2 }, status: { node: "c" } });
  });

  test("a merge from an older version is a conflict, and an absent object absent", async () => {
    const widgets = open();
    expect(await widgets.merge({ spec: { size: 1 } })).toEqual({ kind: "absent" });
    expect(await widgets.mergeStatus({ node: "a" })).toEqual({ kind: "absent" });
    const { metadata } = await widgets.create();
    const from = { metadata: { resourceVersion: metadata.resourceVersion } };
    written(await widgets.merge({ ...from, spec: { size: 1 } }));
    expect(await widgets.merge({ ...from, spec: { size: 2 } })).toMatchObject({ kind: "conflict" });
    expect((await widgets.get())?.spec).toEqual({ size: 1 });
  });

  test("a merge that is refused or changes nothing keeps the version", async () => {
    const widgets = open();
    const made = await widgets.create({ spec: { size: 1 } });
    expect(await widgets.merge({ spec: { size: -1 } })).toMatchObject({ kind: "invalid" });
    expect(written(await widgets.merge({ spec: { size: 1 } }))).toEqual(made);
  });
}

function describeApplies(open: () => Widgets): void {
  test("an apply creates, and takes back what it no longer names", async () => {
    const widgets = open();
    const made = written(await widgets.apply("one", { size: 1, color: "red" }));
    expect(made).toMatchObject({ metadata: { generation: 1 }, spec: { size: 1, color: "red" } });
    const again = written(await widgets.apply("one", { size: 1, color: "red" }));
    expect(again.metadata.resourceVersion).toBe(made.metadata.resourceVersion);
    const smaller = written(await widgets.apply("one", { size: 2 }));
    expect(smaller.spec).toEqual({ size: 2 });
    expect(smaller.metadata.generation).toBe(2);
  });

  test("managers keep their own fields; taking another's needs force", async () => {
    const widgets = open();
    written(await widgets.apply("one", { size: 1 }));
    written(await widgets.apply("two", { color: "red" }));
    const refused = await widgets.apply("two", { color: "red", size: 2 });
    expect(refused).toMatchObject({ kind: "conflict", message: expect.stringContaining("one") });
    const forced = written(await widgets.apply("two", { color: "red", size: 2 }, { force: true }));
    expect(forced.spec).toEqual({ size: 2, color: "red" });
    // The field is two's alone now, so one's next apply without it does not take it away.
    expect(written(await widgets.apply("one", { tags: ["a"] })).spec).toEqual({
      size: 2,
      color: "red",
      tags: ["a"],
    });
  });

  test("what force took from a manager is no longer its own", async () => {
    const widgets = open();
    written(await widgets.apply("one", { size: 1 }));
    written(await widgets.apply("two", { color: "red", size: 2 }, { force: true }));
    expect(written(await widgets.apply("two", { color: "red" })).spec).toEqual({ color: "red" });
  });

  test("a field that two managers agree on goes when both have let it go", async () => {
    const widgets = open();
    written(await widgets.apply("one", { size: 1, color: "red" }));
    written(await widgets.apply("two", { size: 1 }));
    expect(written(await widgets.apply("one", { color: "red" })).spec?.size).toBe(1);
    expect(written(await widgets.apply("two", {})).spec).toEqual({ color: "red" });
  });

  test("an apply from an older version is a conflict", async () => {
    const widgets = open();
    const made = written(await widgets.apply("one", { size: 1 }));
    const { resourceVersion } = made.metadata;
    written(await widgets.apply("one", { size: 2 }, { resourceVersion }));
    const late = await widgets.apply("one", { size: 3 }, { resourceVersion, force: true });
    expect(late).toMatchObject({ kind: "conflict" });
  });

  test("an apply is refused like any other write", async () => {
    const widgets = open();
    expect(await widgets.apply("one", { size: -1 })).toMatchObject({ kind: "invalid" });
    expect(await widgets.get()).toBeUndefined();
  });

  test("finalizers are a set: an apply takes back only its own", async () => {
    const widgets = open();
    const finalizers = (name: string) => ({ metadata: { finalizers: [`weir.storage/${name}`] } });
    written(await widgets.apply("one", {}, finalizers("one")));
    const both = written(await widgets.apply("two", {}, finalizers("two")));
    expect(both.metadata.finalizers).toEqual(["weir.storage/one", "weir.storage/two"]);
    const left = written(await widgets.apply("one", {}));
    expect(left.metadata.finalizers).toEqual(["weir.storage/two"]);
  });
}

function describeStatusApplies(open: () => Widgets): void {
  test("managers report conditions side by side, by type", async () => {
    const widgets = open();
    await widgets.create({ spec: { size: 1 } });
    written(await widgets.applyStatus("one", { conditions: [condition("Ready", "False")] }));
    written(await widgets.applyStatus("two", { conditions: [condition("Stable", "True")] }));
    const now = { node: "a", conditions: [condition("Ready", "True")] };
    const both = written(await widgets.applyStatus("one", now));
    expect(both.spec).toEqual({ size: 1 });
    expect(both.metadata.generation).toBe(1);
    expect(both.status?.conditions?.toSorted((a, b) => (a.type < b.type ? -1 : 1))).toEqual([
      condition("Ready", "True"),
      condition("Stable", "True"),
    ]);
    const left = written(await widgets.applyStatus("one", { node: "a" }));
    expect(left.status).toEqual({ node: "a", conditions: [condition("Stable", "True")] });
  });

  test("what a merge wrote is no apply's to take away", async () => {
    const widgets = open();
    await widgets.create();
    written(await widgets.applyStatus("one", { bytes: 1, node: "a" }));
    written(await widgets.mergeStatus({ node: "b" }));
    expect(written(await widgets.applyStatus("one", { bytes: 2 })).status).toEqual({
      bytes: 2,
      node: "b",
    });
    const refused = await widgets.applyStatus("one", { bytes: 2, node: "c" });
    expect(refused).toMatchObject({ kind: "conflict" });
  });

  test("the status of an absent object is absent", async () => {
    const widgets = open();
    expect(await widgets.applyStatus("one", { node: "a" })).toEqual({ kind: "absent" });
  });
}

function describeDeletes(open: () => Widgets): void {
  test("a delete takes the object of the right uid, once", async () => {
    const widgets = open();
    const { metadata } = await widgets.create();
    const other = { ...widgets.ref, uid: metadata.uid.replace(/^.{8}/u, "00000000") };
    expect(await widgets.api.delete(WIDGET, other, widgets.call)).toBe("absent");
    expect(await widgets.get()).toBeDefined();
    const own = { ...widgets.ref, uid: metadata.uid };
    expect(await widgets.api.delete(WIDGET, own, widgets.call)).toBe("deleted");
    expect(await widgets.api.delete(WIDGET, own, widgets.call)).toBe("absent");
    expect(await widgets.get()).toBeUndefined();
  });

  test("finalizers hold a deleted object until the last is gone", async () => {
    const widgets = open();
    const finalizers = ["weir.storage/one", "weir.storage/two"];
    await widgets.create({ metadata: { ...widgets.ref, finalizers } });
    expect(await widgets.api.delete(WIDGET, widgets.ref, widgets.call)).toBe("deleted");
    const doomed = await widgets.get();
    expect(doomed?.metadata).toMatchObject({ generation: 2, finalizers });
    expect(doomed?.metadata.deletionTimestamp).toMatch(/^\d{4}-/u);
    expect(await widgets.api.delete(WIDGET, widgets.ref, widgets.call)).toBe("deleted");
    expect(await widgets.get()).toEqual(doomed);
    const more = { metadata: { finalizers: [...finalizers, "weir.storage/three"] } };
    expect(await widgets.merge(more)).toMatchObject({ kind: "invalid" });
    written(await widgets.merge({ metadata: { finalizers: ["weir.storage/two"] } }));
    expect(await widgets.get()).toBeDefined();
    written(await widgets.merge({ metadata: { finalizers: null } }));
    expect(await widgets.get()).toBeUndefined();
  });
}

function describeWatches(open: () => Widgets): void {
  test("a watch tells every change after its version, in order", async () => {
    const widgets = open();
    const { resourceVersion } = await widgets.api.list(WIDGET, {}, widgets.call);
    await widgets.create({ spec: { size: 1 } });
    await widgets.merge({ spec: { size: 2 } });
    await widgets.mergeStatus({ node: "a" });
    const seen = followed(widgets, { resourceVersion }, 4);
    await widgets.api.delete(WIDGET, widgets.ref, widgets.call);
    expect(await seen).toEqual([
      ["added", 1, undefined],
      ["modified", 2, undefined],
      ["modified", 2, "a"],
      ["deleted", 2, "a"],
    ]);
  });

  test("a selective watch sees objects come and go", async () => {
    const widgets = open();
    const node = `node-of-${widgets.name}`;
    await widgets.create({ spec: { size: 1 } });
    const { resourceVersion } = await widgets.api.list(WIDGET, {}, widgets.call);
    const fieldSelector = `status.node=${node}`;
    const seen = followed(widgets, { resourceVersion, fieldSelector }, 3);
    await widgets.mergeStatus({ node });
    await widgets.merge({ spec: { size: 2 } });
    await widgets.mergeStatus({ node: "other" });
    const types = (await seen).map(([type, size]) => [type, size]);
    expect(types).toEqual([
      ["added", 1],
      ["modified", 2],
      ["deleted", 2],
    ]);
  });

  test("a watch ends with the signal", async () => {
    const widgets = open();
    const { resourceVersion } = await widgets.api.list(WIDGET, {}, widgets.call);
    const stop = new AbortController();
    const events = widgets.api.watch(WIDGET, { resourceVersion }, { signal: stop.signal });
    const next = events[Symbol.asyncIterator]().next();
    stop.abort(new WeirError("aborted", "the test is over"));
    await expect(next).rejects.toMatchObject({ code: "aborted" });
  });
}

type Seen = readonly [WatchEvent<Widget>["type"], number | undefined, string | undefined];

/** The first changes of this case's widget that a watch tells. */
async function followed(
  widgets: Widgets,
  options: { resourceVersion: string; fieldSelector?: string },
  count: number,
): Promise<readonly Seen[]> {
  const seen: Seen[] = [];
  for await (const event of widgets.api.watch(WIDGET, options, widgets.call)) {
    if (!("object" in event) || event.object.metadata.name !== widgets.name) continue;
    seen.push([event.type, event.object.spec?.size, event.object.status?.node]);
    if (seen.length === count) break;
  }
  return seen;
}

function condition(type: string, status: string) {
  return { type, status, reason: "Because" };
}

function written(outcome: Written<Widget>): Widget {
  if (outcome.kind === "written") return outcome.object;
  const message = "message" in outcome ? outcome.message : "";
  throw new Error(`the write came to ${outcome.kind}: ${message}`);
}

function widgetShape(): object {
  const text = { type: "string" };
  const condition = {
    type: "object",
    required: ["type", "status"],
    properties: { type: text, status: text, reason: text },
  };
  const conditions = {
    type: "array",
    items: condition,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
  };
  const size = { type: "integer", minimum: 0 };
  const tags = { type: "array", items: text };
  return {
    type: "object",
    properties: {
      spec: { type: "object", properties: { size, color: text, tags } },
      status: {
        type: "object",
        properties: { node: text, bytes: { type: "integer" }, conditions },
      },
    },
  };
}
