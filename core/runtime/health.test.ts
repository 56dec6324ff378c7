// Goal: kubelet learns at each moment what it may do: nothing yet, start what needs this program,
// send it work. Method: asked over HTTP before and after the program knows itself, ready and not.
import { expect, test } from "vitest";

import { freePort } from "../../test/support/free-port.ts";
import { Health } from "./health.ts";

test("alive at once, started when it runs, ready when nothing is missing", async () => {
  const endpoint = `127.0.0.1:${await freePort()}`;
  await using health = await Health.serve(endpoint);
  const statusOf = async (path: string) => (await fetch(`http://${endpoint}/${path}`)).status;
  const all = async () => [
    await statusOf("healthz"),
    await statusOf("startupz"),
    await statusOf("readyz"),
  ];
  expect(await all()).toEqual([200, 503, 503]);
  let missing: string | undefined = "the store is not checked yet";
  health.ask({ whyNotReady: () => missing, metrics: async () => "" });
  expect(await all()).toEqual([200, 200, 503]);
  expect(await (await fetch(`http://${endpoint}/readyz`)).text()).toBe(`${missing}\n`);
  missing = undefined;
  expect(await all()).toEqual([200, 200, 200]);
  expect(await statusOf("else")).toBe(404);
});
