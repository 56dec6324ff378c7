// npm run demo [-- volume] [--keep]
// The story of Weir, told with real programs, each step verified: exit status 0 only when all of
// them held. Without a word it is the one on a cluster; `volume` is that of one volume on this
// machine, in seconds.
import { parseArgs } from "node:util";
import { tellClusterStory } from "./cluster.ts";
import { tellVolumeStory } from "./volume.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { keep: { type: "boolean", default: false } },
});
const [story = "cluster", ...rest] = positionals;
if (story === "cluster" && rest.length === 0) {
  process.exitCode = await tellClusterStory({ keep: values.keep });
} else if (story === "volume" && rest.length === 0) {
  process.exitCode = await tellVolumeStory();
} else {
  console.error("usage: npm run demo [-- volume | --keep]");
  process.exitCode = 2;
}
