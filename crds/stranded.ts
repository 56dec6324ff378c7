// Data left behind on a lost node, in words: the operator tells it when the node is lost, and every
// later node repeats it until a person has decided.
import type { VolumeStatus } from "./volume.ts";

type Stranded = NonNullable<VolumeStatus["stranded"]>[number];

export function strandedMessage({ node, bytes }: Pick<Stranded, "node" | "bytes">): string {
  return (
    `${bytes} bytes that were written are on node "${node}" only, which was lost: ` +
    "bring the node back and copy them, or accept the loss by emptying status.stranded"
  );
}
