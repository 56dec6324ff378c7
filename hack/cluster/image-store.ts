// The disk image from which every node runs its containers: containerd's own folder with all images
// imported and unpacked. It is made here, at full speed, rather than by each emulated node.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { outputOf } from "../program.ts";
import { keepFile } from "./image-cache.ts";

const MAKE_TIMEOUT_MS = 600_000;
/** Sparse; containers write their own layers and logs there as well. */
const STORE_SIZE = "16G";

/** The file's path; made from these archives when it is not there yet. */
export async function imageStore(archives: readonly string[]): Promise<string> {
  const names = archives.map((path) => basename(path));
  return keepFile({
    name: "store",
    key: createHash("sha256").update(names.join()).digest("hex"),
    async make(target) {
      using temporary = mkdtempDisposableSync(join(tmpdir(), "weir-images-"));
      const folder = temporary.path;
      mkdirSync(join(folder, "root"));
      writeFileSync(join(folder, "config.toml"), settings(folder));
      await outputOf(["bash", "-uc", IMPORT, "bash", folder, ...archives], {
        timeoutMs: MAKE_TIMEOUT_MS,
      });
      await outputOf(
        ["mke2fs", "-q", "-t", "ext4", "-d", join(folder, "root"), target, STORE_SIZE],
        { timeoutMs: MAKE_TIMEOUT_MS },
      );
    },
  });
}

function settings(folder: string): string {
  return `version = 2
root = "${join(folder, "root")}"
state = "${join(folder, "state")}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${join(folder, "socket")}"
`;
}

/** containerd ends with the script, and by its number. */
const IMPORT = `
containerd --config "$1/config.toml" --log-level warn &
pid=$!
status=1
for _ in {1..100}; do
  [ -S "$1/socket" ] && status=0 && break
  sleep 0.1
done
for archive in "\${@:2}"; do
  [ $status = 0 ] && ctr --address "$1/socket" --namespace k8s.io images import "$archive"
  status=$?
done
kill $pid
wait $pid
exit $status
`;
