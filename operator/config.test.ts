// Goal: every mistake in the options ends the start with a sentence that names it, and what the
// chart passes is understood. Method: argument lists and environments.

import { expect, test } from "vitest";
import { parseOperatorConfig } from "./config.ts";

const ENV = { WEIR_STORE: "s3://bucket/prefix" };

test("what the chart passes", () => {
  const args = [
    "--csi-endpoint=unix:/csi/csi.sock",
    "--leader-election-namespace=weir-system",
    "--leader-election-lease-duration=60",
    "--http-endpoint=:9808",
  ];
  const env = { ...ENV, POD_NAME: "weir-operator-1", WEIR_LOG_LEVEL: "debug", KUBECONFIG: "" };
  expect(parseOperatorConfig(args, env)).toEqual({
    socketPath: "/csi/csi.sock",
    electionNamespace: "weir-system",
    leaseMs: 60_000,
    httpEndpoint: ":9808",
    storeUrl: "s3://bucket/prefix",
    kubeconfigPath: undefined,
    instance: "weir-operator-1",
    logLevel: "debug",
  });
});

test("defaults, and options before the environment", () => {
  expect(parseOperatorConfig(["--http-endpoint="], ENV)).toMatchObject({
    socketPath: "/csi/csi.sock",
    electionNamespace: undefined,
    leaseMs: 15_000,
    httpEndpoint: undefined,
    logLevel: "info",
  });
  const args = ["--store", "file:///x", "--log-level", "warn", "--csi-endpoint", "unix:///a/b"];
  expect(parseOperatorConfig(args, { ...ENV, WEIR_LOG_LEVEL: "error" })).toMatchObject({
    socketPath: "/a/b",
    storeUrl: "file:///x",
    logLevel: "warn",
  });
  expect(parseOperatorConfig(["--help"], {})).toBeUndefined();
});

test.each([
  [[], {}, /the store is not given: set WEIR_STORE/u],
  [["--csi-endpoint=tcp:1"], ENV, /--csi-endpoint/u],
  [["--log-level=loud"], ENV, /log level/u],
  [["--leader-election-lease-duration=4"], ENV, /5 to 9999 seconds/u],
  [["--no-such-option"], ENV, /no-such-option/u],
])("%j is refused", (args, env, message) => {
  expect(() => parseOperatorConfig(args, env)).toThrow(
    expect.objectContaining({ code: "invalid-argument" }),
  );
  expect(() => parseOperatorConfig(args, env)).toThrow(message);
});
