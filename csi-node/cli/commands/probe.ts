// Checks the store and shows each step.
import { WeirError } from "../../../core/runtime/errors.ts";
import { probeStore } from "../../../core/store/probe.ts";
import { withStore } from "../cli.ts";
import type { Command } from "../command.ts";

const NAME_WIDTH = 18;

export const probe: Command = {
  name: "probe",
  summary: "check that the store keeps what Weir relies on",
  details: [
    "Writes a few small objects, checks conditional writes, races, ranges and listings, " +
      "and removes them.",
  ],
  arguments: [],
  options: {},
  examples: ["weir probe --store s3://bucket/prefix"],
  async run({ cli }) {
    try {
      const report = await withStore(cli, ({ store }) => probeStore(store, cli));
      const lines = report.steps.map(({ name, outcome }) =>
        outcome === "passed"
          ? `${name.padEnd(NAME_WIDTH)}  ok`
          : `${name.padEnd(NAME_WIDTH)}  not allowed to these credentials, and not needed`,
      );
      cli.out.result({ json: report, text: lines });
    } catch (cause) {
      const step = cause instanceof WeirError ? cause.details["step"] : undefined;
      if (typeof step === "string") cli.out.line(`${step.padEnd(NAME_WIDTH)}  failed`);
      throw cause;
    }
  },
};
