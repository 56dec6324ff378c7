// Goal: kubelet is told about the driver exactly when it has to be: once at first, anew after a
// reboot or when it does not come, and never in a replacement that it shall not notice. Method:
// real folders and links; kubelet's part is played by calling the service's handlers.
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";

import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { SeededRandom } from "../../core/runtime/seeded-random.ts";
import { captureLogs, expectLog } from "../../test/support/log-capture.ts";
import { Registration } from "./registration.ts";

const DRIVER = "csi.weir.storage";
const LINK = `${DRIVER}-reg.sock`;

let kubelet: string;
let clock: FakeClock;
let stop: AbortController;
let random: SeededRandom;

beforeEach(() => {
  kubelet = mkdtempSync(join(tmpdir(), "weir-kubelet-"));
  mkdirSync(join(kubelet, "plugins", DRIVER), { recursive: true });
  mkdirSync(join(kubelet, "plugins_registry"));
  clock = new FakeClock();
  stop = new AbortController();
  random = new SeededRandom(1);
});

afterEach(() => {
  stop.abort();
  rmSync(kubelet, { recursive: true });
});

const registry = () => join(kubelet, "plugins_registry");
/** As kubelet sees them: names that begin with a dot are nobody's. */
const links = () =>
  readdirSync(registry())
    .filter((name) => !name.startsWith("."))
    .toSorted();

function start(bootId = "boot-1"): Registration {
  return new Registration({
    ...{ driver: DRIVER, endpoint: "/host/csi.sock", bootId, clock, random },
    pluginDirectory: join(kubelet, "plugins", DRIVER),
    registryDirectory: registry(),
    log: pino({}, captureLogs()),
  });
}

const call = { signal: new AbortController().signal };

async function kubeletComes(registration: Registration, pluginRegistered = true) {
  const { handlers } = registration.service();
  const info = await handlers["getInfo"]?.({}, call);
  const error = pluginRegistered ? "" : "no";
  await handlers["notifyRegistrationStatus"]?.({ pluginRegistered, error }, call);
  return info;
}

/** Runs until kubelet has come to the link of that name. */
async function registered(registration: Registration, name = LINK): Promise<void> {
  const announced = registration.announce(stop.signal);
  while (!links().includes(name)) await new Promise(setImmediate);
  await kubeletComes(registration);
  await announced;
}

test("makes a link that kubelet can follow from its view, and says what CSI needs", async () => {
  const registration = start();
  const announced = registration.announce(stop.signal);
  while (links().length === 0) await new Promise(setImmediate);
  expect(links()).toStrictEqual([LINK]);
  const target = readlinkSync(join(registry(), LINK));
  expect(join(registry(), target)).toBe(registration.socketPath);
  expect(registration.isRegistered).toBe(false);
  expect(await kubeletComes(registration)).toStrictEqual({
    type: "CSIPlugin",
    name: DRIVER,
    endpoint: "/host/csi.sock",
    supportedVersions: ["1.0.0"],
  });
  await announced;
  expect(registration.isRegistered).toBe(true);
});

test("a replacement on the same boot touches no link", async () => {
  await registered(start());
  const successor = start();
  await successor.announce(stop.signal);
  expect(successor.isRegistered).toBe(true);
  expect(links()).toStrictEqual([LINK]);
});

test("after a reboot the link gets another name", async () => {
  await registered(start());
  const after = start("boot-2");
  await registered(after, `${DRIVER}-reg-1.sock`);
  expect(links()).toStrictEqual([`${DRIVER}-reg-1.sock`]);
});

test("a kubelet that does not come is called by another name", async () => {
  expectLog(/kubelet did not come/u);
  const registration = start();
  const announced = registration.announce(stop.signal);
  while (links().length === 0) await new Promise(setImmediate);
  while (clock.timerCount === 0) await new Promise(setImmediate);
  await clock.advance(5_000);
  while (!links().includes(`${DRIVER}-reg-1.sock`)) await new Promise(setImmediate);
  await kubeletComes(registration);
  await announced;
  expect(registration.isRegistered).toBe(true);
});

test("replaces what a sidecar left there, and nothing of other drivers", async () => {
  writeFileSync(join(registry(), LINK), "");
  writeFileSync(join(registry(), "other-reg.sock"), "");
  await registered(start(), `${DRIVER}-reg-1.sock`);
  expect(links()).toStrictEqual([`${DRIVER}-reg-1.sock`, "other-reg.sock"]);
});

test("a note that was cut short is no proof", async () => {
  await registered(start());
  writeFileSync(join(kubelet, "plugins", DRIVER, "registered.json"), '{"li');
  await registered(start(), `${DRIVER}-reg-1.sock`);
  expect(links()).toStrictEqual([`${DRIVER}-reg-1.sock`]);
});

test("a refusal makes the node not ready, and the next start asks again", async () => {
  expectLog(/refused to register/u);
  const registration = start();
  await registered(registration);
  await kubeletComes(registration, false);
  expect(registration.isRegistered).toBe(false);
  await registered(start(), `${DRIVER}-reg-1.sock`);
});

test("a notification may come to a process that nobody asked", async () => {
  const registration = start();
  await registration
    .service()
    .handlers["notifyRegistrationStatus"]?.({ pluginRegistered: true, error: "" }, call);
  expect(registration.isRegistered).toBe(true);
});

test("ends with the signal", async () => {
  const announced = start().announce(stop.signal);
  while (links().length === 0) await new Promise(setImmediate);
  stop.abort();
  await expect(announced).rejects.toMatchObject({ code: "aborted" });
});

test("a registry that is not there is said so", async () => {
  rmSync(registry(), { recursive: true });
  await expect(start().announce(stop.signal)).rejects.toMatchObject({ code: "invalid-argument" });
  mkdirSync(registry());
});
