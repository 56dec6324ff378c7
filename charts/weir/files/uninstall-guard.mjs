// Ends with 1, and says what to do, while volumes are attached: without the node's pods, what is
// dirty could not be uploaded, and nothing could be unmounted. Runs before `helm uninstall`.
import { readFile } from "node:fs/promises";

const DRIVER = "csi.weir.storage";
const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "443" } = process.env;
const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
const account = "/var/run/secrets/kubernetes.io/serviceaccount";

const attachments = await list("/apis/storage.k8s.io/v1/volumeattachments");
const attached = attachments.filter(({ spec }) => spec.attacher === DRIVER);
const volumes = await list("/apis/weir.storage/v1alpha1/volumes");
const dirty = volumes.filter(({ status }) => (status?.dirtyBytes ?? 0) > 0);

const places = [
  ...attached.map(
    ({ spec }) => `${spec.source.persistentVolumeName} is attached to ${spec.nodeName}`,
  ),
  ...dirty.map(({ metadata, status }) => `${metadata.name} has ${status.dirtyBytes} dirty bytes`),
];
if (places.length > 0) {
  console.error(`Weir is still in use:\n  ${places.slice(0, 20).join("\n  ")}`);
  if (places.length > 20) console.error(`  and ${places.length - 20} more`);
  console.error(
    "Delete the pods that use these volumes and try again, or leave the volumes behind with " +
      "`helm uninstall --no-hooks`: their objects and their data in the bucket stay.",
  );
  process.exit(1);
}
console.log("no volume is attached");

/** Items of a kind; none when the cluster does not have it. */
async function list(path) {
  const token = (await readFile(`${account}/token`, "utf8")).trim();
  const answer = await fetch(`${server}${path}`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(30_000),
  });
  if (answer.status === 404) return [];
  if (!answer.ok) throw new Error(`${path}: the API server answers ${answer.status}`);
  return (await answer.json()).items;
}
