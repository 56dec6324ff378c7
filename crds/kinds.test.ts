// Goal: what the API server holds is read with its defaults, fields of a newer CRD do not disturb,
// and an object of another shape is named in the fault. Method: objects as the server returns them.
import { describe, expect, it } from "vitest";
import { WeirError } from "../core/runtime/errors.ts";
import { SNAPSHOT } from "./snapshot.ts";
import { VOLUME } from "./volume.ts";

const metadata = { name: "data", uid: "0b5c", resourceVersion: "7", managedFields: [{}] };

function faultOf(parse: () => unknown): WeirError {
  try {
    parse();
  } catch (error) {
    if (error instanceof WeirError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("Volume", () => {
  it("gets the defaults of the CRD", () => {
    const volume = VOLUME.parse({ metadata, spec: { size: "10Gi" } });
    expect(volume.spec).toEqual({ size: "10Gi", durability: "local", deletionPolicy: "Delete" });
    expect(volume.status).toBeUndefined();
  });

  it("ignores fields that a newer CRD has", () => {
    const spec = { size: "1Gi", compression: "zstd" };
    const volume = VOLUME.parse({ metadata, spec, status: { node: "a", temperature: 3 } });
    expect(volume.spec).not.toHaveProperty("compression");
    expect(volume.status).toEqual({ node: "a" });
  });

  it.each([{ snapshot: "s" }, { volume: "v" }])("keeps the source %o", (source) => {
    expect(VOLUME.parse({ metadata, spec: { size: "1Gi", source } }).spec.source).toEqual(source);
  });

  it.each([{}, { snapshot: "s", volume: "v" }])("refuses the source %o", (source) => {
    const fault = faultOf(() => VOLUME.parse({ metadata, spec: { size: "1Gi", source } }));
    expect(fault.details).toMatchObject({
      name: "data",
      field: "spec.source",
      problem: "must name either a snapshot or a volume",
    });
  });

  it("names the object and the place of a mistake", () => {
    const fault = faultOf(() => VOLUME.parse({ metadata, spec: { size: 5 } }));
    expect(fault.code).toBe("internal");
    expect(fault.details).toMatchObject({ name: "data", field: "spec.size" });
  });
});

describe("Snapshot", () => {
  it("is read with its position", () => {
    const status = { position: { epoch: 3, seq: 14 }, size: "1Gi", uid: "a".repeat(32) };
    const snapshot = SNAPSHOT.parse({ metadata, spec: { volume: "data" }, status });
    expect(snapshot.spec).toEqual({ volume: "data", deletionPolicy: "Delete" });
    expect(snapshot.status).toEqual(status);
  });

  it.each(["", "Data", "a/b", "-a", "a".repeat(64)])("refuses the volume name %j", (volume) => {
    const fault = faultOf(() => SNAPSHOT.parse({ metadata, spec: { volume } }));
    expect(fault.details["field"]).toBe("spec.volume");
  });
});
