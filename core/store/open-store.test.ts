// Goal: a store's URL opens what it says, and every mistake in one gets a sentence that names the
// mistake. Method: tables of URLs.

import { describe, expect, test } from "vitest";
import { FakeClock } from "../runtime/fake-clock.ts";
import { SeededRandom } from "../runtime/seeded-random.ts";
import { openStore, parseStoreUrl } from "./open-store.ts";

const ports = { clock: new FakeClock(), random: new SeededRandom(1) };

describe("a store's URL", () => {
  test.each([
    ["memory:", { kind: "memory" }],
    ["file:///var/lib/weir", { kind: "directory", path: "/var/lib/weir" }],
    ["file:///var/lib/weir/", { kind: "directory", path: "/var/lib/weir" }],
    ["file:///with%20space", { kind: "directory", path: "/with space" }],
    ["s3://bucket", { kind: "s3", bucket: "bucket", prefix: "" }],
    ["s3://bucket/", { kind: "s3", bucket: "bucket", prefix: "" }],
    ["s3://my.bucket-1/a/b_c/", { kind: "s3", bucket: "my.bucket-1", prefix: "a/b_c" }],
    [
      "s3://bucket/p?endpoint=http://127.0.0.1:7070&region=eu-west-1",
      {
        kind: "s3",
        bucket: "bucket",
        prefix: "p",
        endpoint: "http://127.0.0.1:7070",
        region: "eu-west-1",
      },
    ],
    [
      "s3://bucket?endpoint=http://s3.local&insecure=true",
      { kind: "s3", bucket: "bucket", prefix: "", endpoint: "http://s3.local" },
    ],
    [
      "s3://bucket?endpoint=https%3A%2F%2Fs3.local%3A9000%2F",
      { kind: "s3", bucket: "bucket", prefix: "", endpoint: "https://s3.local:9000/" },
    ],
  ])("%s is understood", (url, location) => {
    expect(parseStoreUrl(url)).toEqual(location);
  });

  test.each([
    ["", "must be a URL such as"],
    ["bucket/prefix", "must be a URL such as"],
    ["/var/lib/weir", "must be a URL such as"],
    ["gs://bucket", "must begin with s3://, file:// or memory:"],
    ["http://host/bucket", "must begin with s3://, file:// or memory:"],
    ["memory:x", "is just memory:"],
    ["file://var/lib/weir", "three slashes"],
    ["file:/var/lib/weir", "three slashes"],
    ["file:///", "must name a directory"],
    ["file:///a%00b", "must name a directory"],
    ["file:///a%zz", "broken % escape"],
    ["file:///a?region=x", "takes no parameters"],
    ["s3://", "must name a bucket"],
    ["s3:///prefix", "must name a bucket"],
    ["s3://Bucket/prefix", "names a bucket that cannot be"],
    ["s3://b", "names a bucket that cannot be"],
    ["s3://bucket/Upper", "has a prefix with other characters"],
    ["s3://bucket/a//b", "has a prefix with other characters"],
    ["s3://bucket/../b%2f..", "has a prefix with other characters"],
    ["s3://bucket/p#x", "must not hold a '#'"],
    ["s3://key:canary@bucket/p", "must not hold credentials"],
    ["s3://bucket?regoin=eu", "unknown parameter `regoin`"],
    ["s3://bucket?region=EU", "`region` that must be a name such as us-east-1"],
    ["s3://bucket?region=a&region=b", "gives `region` twice"],
    ["s3://bucket?endpoint=127.0.0.1:7070", "`endpoint` that must look like http://host:port"],
    ["s3://bucket?endpoint=http://h:99999", "`endpoint` that must look like http://host:port"],
    ["s3://bucket?endpoint=http://h/path", "`endpoint` that must look like http://host:port"],
    ["s3://bucket?endpoint=http://s3.local:9000", "in the clear over the network"],
    ["s3://bucket?insecure=yes", "`insecure` that must be true or false"],
  ])("%s is refused", (url, sentence) => {
    const refusal = expect.objectContaining({
      code: "invalid-argument",
      message: expect.stringContaining(sentence),
    });
    expect(() => parseStoreUrl(url)).toThrow(refusal);
  });

  test("with credentials is not repeated in the fault", () => {
    const shown = (): string => {
      try {
        return JSON.stringify(parseStoreUrl("s3://key:canary@bucket/p"));
      } catch (error) {
        return JSON.stringify(error) + String(error);
      }
    };
    expect(shown()).toContain("must not hold credentials");
    expect(shown()).not.toContain("canary");
  });
});

test("each kind of URL opens its store, which is labelled without parameters", async () => {
  const urls = ["memory:", "file:///var/lib/weir", "s3://bucket/a?region=eu-west-1"];
  for (const url of urls) {
    await using store = await openStore(url, ports);
    expect(store.label).toBe(url.replace(/\?.*/u, ""));
  }
});
