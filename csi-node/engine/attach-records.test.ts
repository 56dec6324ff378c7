// Goal: a node lets go of a volume that it could not take up only when that can lose nothing.
// Method: every kind of record that an engine meets after a restart.
import { expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { asVolumeUid } from "../../core/runtime/ids.ts";
import { refuseUnlessLost, type AttachRecord } from "./attach-records.ts";
import { volumePolicySchema } from "./config.ts";

const NBD = { kind: "nbd", socketPath: "/run/weir/data.nbd" } as const;
const UBLK = { kind: "ublk", depth: 128, deviceId: 0 } as const;

function refused(code: WeirError["code"], transport: AttachRecord["transport"], bootId = "now") {
  const uid = asVolumeUid("5".repeat(32));
  const policy = volumePolicySchema.parse({});
  const record = { format: 1, uid, name: "data", policy, bootId, transport } as const;
  const fault = new WeirError(code, "words of the fault");
  return () => refuseUnlessLost(record, { fault, bootId: "now" });
}

test("a volume that another node owns by now is let go of", () => {
  expect(refused("fenced", UBLK)).not.toThrow();
});

test("so is one that was deleted, when no device of it waits since this boot", () => {
  expect(refused("not-found", NBD)).not.toThrow();
  expect(refused("not-found", UBLK, "before")).not.toThrow();
  expect(refused("not-found", { ...UBLK, deviceId: null })).not.toThrow();
  expect(refused("not-found", UBLK)).toThrow(/--force/u);
});

test("any other may have dirty data here, and says why it waits", () => {
  expect(refused("store-unavailable", NBD)).toThrow("words of the fault");
  expect(refused("journal-busy", UBLK, "before")).toThrow("words of the fault");
});
