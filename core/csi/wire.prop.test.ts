// Goal: the bytes of our messages mean to others what they mean to us, both ways, and bytes that
// are no message are refused, not misread. Method: fast-check makes messages with every kind of
// field; @bufbuild/protobuf's reflection, which knows nothing of ours but a descriptor written
// here, reads them and writes them again.
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import {
  bool,
  choice,
  int32,
  int64,
  many,
  maybeBool,
  message,
  one,
  oneof,
  string,
  strings,
  texts,
  timestamp,
} from "./wire.ts";

const Color = { UNKNOWN: 0, RED: 1, BLUE: 7 } as const;
const Leaf = message({ size: int64(1), color: choice(2, Color) });
const All = message({
  text: string(1),
  flag: bool(2),
  count: int32(3),
  leaf: one(4, Leaf),
  leaves: many(5, Leaf),
  names: strings(6),
  labels: texts(7),
  pick: oneof({ left: { number: 8, type: Leaf }, right: { number: 9, type: Leaf } }),
  ready: maybeBool(10),
  time: timestamp(11),
});

const field = (name: string, number: number, type: Type, more: object = {}) => ({
  ...{ name, number, type, label: Label.OPTIONAL },
  ...more,
});
const of = (typeName: string) => ({ typeName: `.t.${typeName}` });
const repeated = { label: Label.REPEATED };
const inOneof = { oneofIndex: 0 };
const file = create(FileDescriptorProtoSchema, {
  name: "t.proto",
  package: "t",
  syntax: "proto3",
  dependency: ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"],
  enumType: [
    { name: "Color", value: Object.entries(Color).map(([name, number]) => ({ name, number })) },
  ],
  messageType: [
    {
      name: "Leaf",
      field: [field("size", 1, Type.INT64), field("color", 2, Type.ENUM, of("Color"))],
    },
    {
      name: "All",
      oneofDecl: [{ name: "pick" }],
      nestedType: [
        {
          name: "LabelsEntry",
          options: { mapEntry: true },
          field: [field("key", 1, Type.STRING), field("value", 2, Type.STRING)],
        },
      ],
      field: [
        field("text", 1, Type.STRING),
        field("flag", 2, Type.BOOL),
        field("count", 3, Type.INT32),
        field("leaf", 4, Type.MESSAGE, of("Leaf")),
        field("leaves", 5, Type.MESSAGE, { ...of("Leaf"), ...repeated }),
        field("names", 6, Type.STRING, repeated),
        field("labels", 7, Type.MESSAGE, { ...of("All.LabelsEntry"), ...repeated }),
        field("left", 8, Type.MESSAGE, { ...of("Leaf"), ...inOneof }),
        field("right", 9, Type.MESSAGE, { ...of("Leaf"), ...inOneof }),
        field("ready", 10, Type.MESSAGE, { typeName: ".google.protobuf.BoolValue" }),
        field("time", 11, Type.MESSAGE, { typeName: ".google.protobuf.Timestamp" }),
      ],
    },
  ],
});
const known = [file_google_protobuf_timestamp, file_google_protobuf_wrappers];
const registry = createFileRegistry(file, (name) =>
  known.find((found) => `${found.name}.proto` === name),
);

/** What the other implementation makes of our bytes. */
function rewritten(bytes: Uint8Array): Uint8Array {
  const schema = registry.getMessage("t.All");
  if (schema === undefined) throw new Error("the descriptor of this test is wrong");
  return toBinary(schema, fromBinary(schema, bytes, { readUnknownFields: false }));
}

const text = fc.string({ unit: "binary" });
const leaf = plain({
  size: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  color: fc.constantFrom(...Object.values(Color)),
});
const all = plain({
  text,
  flag: fc.boolean(),
  count: fc.integer(),
  leaf: fc.option(leaf, { nil: undefined }),
  leaves: fc.array(leaf, { maxLength: 3 }),
  names: fc.array(text, { maxLength: 3 }),
  labels: fc
    .uniqueArray(fc.tuple(fc.oneof(fc.constant("__proto__"), text), text), {
      maxLength: 3,
      selector: ([key]) => key,
    })
    .map((entries) => Object.fromEntries(entries)),
  pick: fc.option(plain({ $case: fc.constantFrom("left", "right"), value: leaf }), {
    nil: undefined,
  }),
  ready: fc.option(fc.boolean(), { nil: undefined }),
  time: fc.option(
    fc.date({ min: new Date("0001-01-02"), max: new Date("9999-12-30"), noInvalidDate: true }),
    { nil: undefined },
  ),
});

function plain<T>(fields: { [Name in keyof T]: fc.Arbitrary<T[Name]> }): fc.Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true });
}

test("another implementation reads and writes what we do", () => {
  fc.assert(
    fc.property(all, (value) => {
      const bytes = All.encode(value);
      expect(All.decode(bytes)).toStrictEqual(value);
      expect(All.decode(rewritten(bytes))).toStrictEqual(value);
      expect(All.fromPartial(value)).toStrictEqual(value);
    }),
  );
});

test("what is empty takes no byte, and no byte is what is empty", () => {
  expect(All.encode(All.fromPartial({}))).toHaveLength(0);
  expect(All.decode(new Uint8Array())).toStrictEqual(All.fromPartial({}));
});

test("fields and values of a later version are passed over", () => {
  const Later = message({
    size: int64(1),
    color: choice(2, { UNKNOWN: 0, GREEN: 99 }),
    more: strings(3),
    text: string(200),
  });
  const bytes = Later.encode({ size: 5n, color: 99, more: ["a", "b"], text: "t" });
  expect(Leaf.decode(bytes)).toStrictEqual({ size: 5n, color: Color.UNKNOWN });
  const otherType = message({ size: string(1) }).encode({ size: "text" });
  expect(Leaf.decode(otherType)).toStrictEqual({ size: 0n, color: Color.UNKNOWN });
});

test("bytes that are cut or foreign are a message or refused, never anything else", () => {
  const names = Object.keys(All.fromPartial({})).join();
  const check = (bytes: Uint8Array): boolean => {
    try {
      return Object.keys(All.decode(bytes)).join() === names;
    } catch (cause) {
      return cause instanceof Error;
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), check));
  const whole = fc.tuple(all, fc.nat()).map(([value, cut]) => {
    const bytes = All.encode(value);
    return bytes.subarray(0, cut % (bytes.length + 1));
  });
  fc.assert(fc.property(whole, check));
  const inner = Uint8Array.of(0x22, 0x02, 0x08, 0x80, 0x01);
  expect(() => All.decode(inner)).toThrow("longer than its message");
});
