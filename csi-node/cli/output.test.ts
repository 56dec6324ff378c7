// Goal: scripts find exactly one JSON document on standard output, people one sentence on
// standard error, and progress disturbs neither. Method: streams that remember what was written,
// a clock that is moved by hand.
import { describe, expect, test } from "vitest";

import { WeirError } from "../../core/runtime/errors.ts";
import { FakeClock } from "../../core/runtime/fake-clock.ts";
import { facts, formatWallTime, Output, table } from "./output.ts";
import { DirtyProgress } from "./progress.ts";

class MemoryStream {
  text = "";
  readonly isTTY: boolean;
  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }
  write(text: string): void {
    this.text += text;
  }
}

function outputs(options: { json?: boolean; quiet?: boolean }) {
  const stdout = new MemoryStream();
  const stderr = new MemoryStream();
  const out = new Output({ stdout, stderr, json: false, quiet: false, ...options });
  return { out, stdout, stderr };
}

describe("output", () => {
  const fault = new WeirError("not-found", "there is no such volume", {
    details: { name: "data", tries: 2, none: undefined },
  });

  test("a result is text, or one JSON document", () => {
    const people = outputs({});
    people.out.result({ json: { a: 1 }, text: ["one", "two"] });
    expect(people.stdout.text).toBe("one\ntwo\n");
    const script = outputs({ json: true });
    script.out.result({ json: { a: 1 }, text: ["one", "two"] });
    expect(JSON.parse(script.stdout.text)).toStrictEqual({ a: 1 });
  });

  test("a fault is one sentence, with --json also one JSON document", () => {
    const sentence = "weir: there is no such volume (name=data tries=2)\n";
    const people = outputs({});
    people.out.fault(fault);
    expect([people.stdout.text, people.stderr.text]).toStrictEqual(["", sentence]);
    const script = outputs({ json: true });
    script.out.fault(fault);
    expect(script.stderr.text).toBe(sentence);
    expect(JSON.parse(script.stdout.text)).toStrictEqual({
      fault: {
        code: "not-found",
        message: "there is no such volume",
        details: { name: "data", tries: 2 },
      },
    });
  });

  test("notes and progress end with --quiet, faults do not", () => {
    const { out, stderr } = outputs({ quiet: true });
    out.note("by the way");
    expect(out.progressStream).toBeUndefined();
    expect(stderr.text).toBe("");
    out.fault(fault);
    expect(stderr.text).not.toBe("");
  });

  test("tables and facts are aligned", () => {
    expect(
      table(
        ["NAME", "SIZE"],
        [
          ["data", "1 GiB"],
          ["a", ""],
        ],
      ),
    ).toStrictEqual(["NAME  SIZE", "data  1 GiB", "a"]);
    expect(
      facts([
        ["uid", "1"],
        ["size", "2"],
      ]),
    ).toStrictEqual(["uid   1", "size  2"]);
    expect(formatWallTime(Date.UTC(2026, 0, 31, 12))).toBe("2026-01-31 12:00:00 UTC");
  });
});

describe("progress", () => {
  const MIB = 1024 ** 2;

  test("a terminal gets one moving bar, which is gone at the end", async () => {
    const clock = new FakeClock();
    const stream = new MemoryStream(true);
    {
      using progress = new DirtyProgress({ stream, clock, label: "detaching data" });
      progress.update(8 * MIB);
      progress.update(7 * MIB);
      await clock.advance(100);
      progress.update(4 * MIB);
      progress.update(0);
    }
    const bars = stream.text.split("\r\u001b[2K");
    expect(bars).toStrictEqual([
      "",
      "detaching data [..............................]   0%, 8 MiB left",
      "detaching data [###############...............]  50%, 4 MiB left",
      "detaching data [##############################] 100%, 0 B left",
      "",
    ]);
    expect(stream.text).not.toContain("\n");
  });

  test("a log gets a line now and then", async () => {
    const clock = new FakeClock();
    const stream = new MemoryStream();
    using progress = new DirtyProgress({ stream, clock, label: "detaching data" });
    progress.update(8 * MIB);
    await clock.advance(1_999);
    progress.update(6 * MIB);
    await clock.advance(1);
    progress.update(4 * MIB);
    progress.update(0);
    await clock.advance(5_000);
    progress.update(0);
    expect(stream.text.split("\n")).toStrictEqual([
      "detaching data: 8 MiB left to upload",
      "detaching data: 4 MiB left to upload",
      "detaching data: 0 B left to upload",
      "",
    ]);
  });

  test("nothing dirty, nothing shown", () => {
    const stream = new MemoryStream(true);
    using progress = new DirtyProgress({ stream, clock: new FakeClock(), label: "x" });
    progress.update(0);
    progress.update(0);
    expect(stream.text).toBe("");
  });
});
