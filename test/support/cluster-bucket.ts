// What tests on the cluster look up in the bucket: as files of the S3 server, without asking Weir.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { s3 } from "../../hack/cluster/layout.ts";

const installation = join(s3.folder, s3.bucket, "cluster");

/** How many objects of the volume are in the bucket. */
export function objectsOf(uid: string): number {
  return filesIn(join(installation, "volumes", uid));
}

/** How many of them are its log. */
export function segmentsOf(uid: string): number {
  return filesIn(join(installation, "volumes", uid, "log"));
}

/** Whether the bucket knows a volume by that name. */
export function isNamed(name: string): boolean {
  return existsSync(join(installation, "names/volumes", name));
}

function filesIn(folder: string): number {
  if (!existsSync(folder)) return 0;
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
}
