// Brings the native build and the programs of tests up to date: `beforeAll(prepareNative,
// PREPARE_MS)`.
import { buildNative } from "../../hack/native-build.ts";
import { ensurePackages } from "../../hack/packages.ts";

/** From nothing on two busy cores. */
export const PREPARE_MS = 900_000;

export async function prepareNative(): Promise<void> {
  await ensurePackages(["build", "disk"]);
  if (!(await buildNative("release", "inherit"))) throw new Error("the native build failed");
}
