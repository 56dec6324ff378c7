// What a test on the cluster of `npm run cluster` works with: a namespace of its own, in which it
// applies objects, waits for their states and runs commands in pods. Everything in it is deleted at
// its end, and the namespace waited for until it is gone: a finalizer that hangs fails the test.
import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { z } from "zod";
import { kubectl } from "../../hack/cluster/kubectl.ts";

/** Pods start slowly on emulated nodes, more so when the machine is busy. */
const PATIENCE_MS = 300_000;
const LOOK_EVERY_MS = 500;

/** As the API server gives it, of which a test reads a few fields. */
export type KubeObject = Readonly<Record<string, unknown>>;

export interface Scene extends AsyncDisposable {
  readonly namespace: string;
  /** Creates or changes objects, in this namespace when they live in one. */
  apply(...objects: readonly KubeObject[]): Promise<void>;
  /** Likewise for objects that live in no namespace; deleted at the end, after the others. */
  share(...objects: readonly KubeObject[]): Promise<void>;
  get<T>(schema: z.ZodType<T>, ...what: readonly string[]): Promise<T>;
  /** What `kubectl describe` tells a person. */
  describe(...what: readonly string[]): Promise<string>;
  logs(pod: string): Promise<string>;
  /** The last line that the pod has printed; empty before the first. */
  lastLine(pod: string): Promise<string>;
  /** Deletes and waits until it is gone. */
  delete(...what: readonly string[]): Promise<void>;
  /** Waits until the pod runs and is Ready. */
  untilReady(pod: string): Promise<void>;
  /** Runs a shell script in a pod; its output, when it succeeds. */
  run(pod: string, script: string): Promise<string>;
}

let scenes = 0;

export async function startScene(prefix = "test"): Promise<Scene> {
  scenes += 1;
  const namespace = `${prefix}-${process.pid}-${scenes}`;
  await kubectl(["create", "namespace", namespace]);
  const within = `--namespace=${namespace}`;
  const shared: KubeObject[] = [];
  const apply = async (...objects: readonly KubeObject[]): Promise<void> =>
    withFile(objects, (file) => kubectl(["apply", within, file]));
  const describe = (...what: readonly string[]) => kubectl(["describe", within, ...what]);
  return {
    namespace,
    apply,
    describe,
    logs: (pod) => kubectl(["logs", within, pod]),
    lastLine: async (pod) => (await kubectl(["logs", within, "--tail=1", pod])).trimEnd(),
    async share(...objects) {
      shared.push(...objects);
      await apply(...objects);
    },
    async get(schema, ...what) {
      const text = await kubectl(["get", within, "--output=json", ...what]);
      return schema.parse(JSON.parse(text));
    },
    async delete(...what) {
      await kubectl(["delete", within, limit, ...what], patience);
    },
    async untilReady(pod) {
      try {
        await kubectl(["wait", within, limit, "--for=condition=Ready", `pod/${pod}`], patience);
      } catch (cause) {
        const story = await describe("pod,pvc");
        throw new Error(`The pod ${pod} does not get Ready:\n${story}`, { cause });
      }
    },
    async run(pod, script) {
      return await kubectl(["exec", within, pod, "--", "sh", "-euc", script], patience);
    },
    async [Symbol.asyncDispose]() {
      await kubectl(["delete", "namespace", namespace, limit], patience);
      if (shared.length === 0) return;
      const gone = ["delete", "--ignore-not-found", limit];
      await withFile(shared, (file) => kubectl([...gone, file], patience));
    },
  };
}

async function withFile(
  objects: readonly KubeObject[],
  use: (option: string) => Promise<unknown>,
): Promise<void> {
  using folder = mkdtempDisposableSync(join(tmpdir(), "weir-objects-"));
  const file = join(folder.path, "objects.json");
  writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
  await use(`--filename=${file}`);
}

const limit = `--timeout=${PATIENCE_MS / 1000}s`;
const patience = { timeoutMs: PATIENCE_MS + 10_000 };

/** Asks again and again until the answer is not undefined. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  timeoutMs = PATIENCE_MS,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > endMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(LOOK_EVERY_MS);
  }
}
