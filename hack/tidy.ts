// Rules of STYLE.md that no other tool checks; part of `npm run check`. Prints each place and exits
// with 1 when there is any.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "./places.ts";
import { sourceFiles } from "./sources.ts";
import { untidyPlaces } from "./tidy-rules.ts";

const binary = /\.(?:bin|png)$/u;
const paths = (await sourceFiles()).filter((path) => !binary.test(path));
const places = paths.flatMap((path) =>
  untidyPlaces({ path, text: readFileSync(join(checkout, path), "utf8"), checkout }),
);
for (const place of places) {
  console.log(place);
}
process.exit(places.length > 0 ? 1 : 0);
