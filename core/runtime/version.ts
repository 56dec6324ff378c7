// The version of this package, read where it is kept.
import packageJson from "../../package.json" with { type: "json" };

export const VERSION: string = packageJson.version;
