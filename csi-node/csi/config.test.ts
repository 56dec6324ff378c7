// Goal: the options of the DaemonSet give the paths that kubelet and this process need, and each
// mistake is one sentence. Method: argument lists.
import { expect, test } from "vitest";

import { parseNodeConfig, pluginDirectory } from "./config.ts";

const parse = (args: readonly string[], env: Record<string, string> = {}) =>
  parseNodeConfig(args, { driver: "csi.weir.storage", env });

test("defaults are those of the image", () => {
  const config = parse(["--node-name=n1"]);
  expect(config).toStrictEqual({
    nodeName: "n1",
    socketPath: "/csi/csi.sock",
    kubeletSocketPath: "/var/lib/kubelet/plugins/csi.weir.storage/csi.sock",
    registryDirectory: "/registration",
    engineSocketPath: "/run/weir/control.sock",
    httpEndpoint: ":9809",
    maxVolumes: 64,
    useKubernetes: true,
    kubeconfigPath: undefined,
    logLevel: "info",
  });
  expect(config === undefined ? "" : pluginDirectory(config)).toBe("/csi");
});

test("everything can be set", () => {
  const config = parse(
    [
      ...["--node-name", "n2", "--csi-endpoint", "unix:///x/c.sock", "--kubelet-dir", "/k"],
      ...["--registration-dir", "/r", "--engine-socket", "/e.sock", "--http-endpoint", ""],
      ...["--max-volumes", "0", "--without-kubernetes", "--log-level", "debug"],
    ],
    { KUBECONFIG: "/kubeconfig" },
  );
  expect(config).toStrictEqual({
    nodeName: "n2",
    socketPath: "/x/c.sock",
    kubeletSocketPath: "/k/plugins/csi.weir.storage/c.sock",
    registryDirectory: "/r",
    engineSocketPath: "/e.sock",
    httpEndpoint: undefined,
    maxVolumes: 0,
    useKubernetes: false,
    kubeconfigPath: "/kubeconfig",
    logLevel: "debug",
  });
});

test("help is no mistake", () => {
  expect(parse(["--help"])).toBeUndefined();
});

test.each([
  [[], "--node-name"],
  [["--node-name", "n", "--csi-endpoint", "tcp://x"], "--csi-endpoint"],
  [["--node-name", "n", "--kubelet-dir", "relative"], "--kubelet-dir"],
  [["--node-name", "n", "--max-volumes", "many"], "--max-volumes"],
  [["--node-name", "n", "--log-level", "loud"], "--log-level"],
  [["--node-name", "n", "--color"], "--color"],
])("%j is refused with the option's name", (args, option) => {
  expect(() => parse(args)).toThrow(
    expect.objectContaining({
      code: "invalid-argument",
      message: expect.stringContaining(option),
    }),
  );
});
