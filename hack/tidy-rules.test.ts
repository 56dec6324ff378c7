// Goal: every rule of tidy-rules.ts finds its violation and leaves what is fine alone. Method: one
// small file for each rule, with the complaint it must cause, and near misses without any. Words
// that tidy would find in this file itself are cut by a `~`, which the test takes out.
import { expect, test } from "vitest";
import { untidyPlaces } from "./tidy-rules.ts";

const checkout = "/somewhere/weir";
const head = "// A file.\n";
const wrong = [
  ["a long file", "core/a.ts", `${head}${"x;\n".repeat(500)}`, "501 lines"],
  ["a wide line", "core/a.ts", `${head}${"x".repeat(101)}\n`, "core/a.ts:2: 101 columns"],
  ["a long function", "native/a.cc", `int F() {\n${"  x;\n".repeat(69)}}\n`, "71 lines"],
  ["a long method", "native/a.h", `${head}  int F() {\n${"    x;\n".repeat(69)}  }\n`, "71 lines"],
  [
    "a long constructor",
    "native/a.cc",
    `A::A(int b)\n    : b_(b) {\n${"  x;\n".repeat(68)}}\n`,
    "71",
  ],
  ["two titles", "README.md", "# One\n\n# Two\n", "2 titles"],
  ["no title", "README.md", "text\n", "0 titles"],
  ["no head", "csi-node/a.ts", "export {};\n", "without a comment"],
  ["no head of a test", "native/tests/a_test.cc", "int x;\n", "without a comment"],
  ["Kubernetes' word", "core/a.ts", `${head}// the gener~ation of a volume\n`, "say epoch"],
  ["another word for journal", "native/a.h", `${head}// the W~AL\n`, "say journal"],
  ["another word for segment", "core/a.ts", `${head}// a pa~ck\n`, "say segment"],
  ["another word for clone", "csi-node/a.ts", `${head}// a fo~rk\n`, "say clone"],
  ["a loose end", "hack/a.ts", `${head}// TO~DO: later\n`, "number of an issue"],
  ["a focused test", "core/a.test.ts", `${head}test.~only("x");\n`, "a test runs"],
  ["a disabled test", "native/tests/a_test.cc", `${head}TEST(A, DIS~ABLED_B)\n`, "a test runs"],
  ["the checkout's place", "hack/a.ts", `${head}"/somewhere/else"\n`, "path of one machine"],
  ["somebody's home", "hack/a.ts", `${head}"/ho~me/someone/x"\n`, "path of one machine"],
  ["a registry", ".npmrc", `registry=https:/~/registry.npm~js.org/\n`, "package registry"],
] as const;

const right = [
  ["a full file", "core/a.ts", `${head}${"x;\n".repeat(499)}`],
  ["a full line", "core/a.ts", `${head}${"x".repeat(100)}\n`],
  ["a full function", "native/a.cc", `int F() {\n${"  x;\n".repeat(68)}}\n`],
  [
    "two constructors",
    "native/a.cc",
    `A::A()\n    : b_(1) {\n${"  x;\n".repeat(40)}}\n\n`.repeat(2),
  ],
  ["a long namespace", "native/a.cc", `namespace weir {\n${"x;\n".repeat(100)}}\n`],
  ["a title, and one in code", "README.md", "# One\n\n```\n# not a title\n```\n"],
  ["Kubernetes' field", "csi-node/a.ts", `${head}// metadata.generation\n`],
  ["an owner's number", "csi-node/handoff/a.ts", `${head}// the next generation\n`],
  ["the system call", "native/a.cc", "x = fork();\n"],
  ["a loose end with a number", "core/a.ts", `${head}// TODO(#12): later\n`],
  ["packed data", "core/a.ts", `${head}// pack and unpack tightly packed data\n`],
] as const;

test.each(wrong)("%s", (_, path, text, complaint) => {
  const places = untidyPlaces({ path, text: text.replaceAll("~", ""), checkout });
  expect(places.join()).toContain(complaint);
});

test.each(right)("%s is fine", (_, path, text) => {
  expect(untidyPlaces({ path, text, checkout })).toEqual([]);
});
