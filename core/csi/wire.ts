// The messages of CSI as plain objects, and as bytes of protobuf: each message is a table of its
// fields, from which its type is inferred. Only what CSI's messages are made of is known here; the
// tables in generated/ are written by hack/proto.ts, the bytes by @bufbuild/protobuf.
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

import { dateOf } from "../runtime/iso-time.ts";

/** A member of a message. `Given` is what stands for a value when only some of it is named. */
export interface Field<Value, Given> {
  /** Under which numbers it stands in the bytes: several for a oneof. */
  readonly numbers: readonly number[];
  readonly wireType: WireType;
  empty(): Value;
  from(given: Given): Value;
  /** Writes nothing for what `empty()` gives. */
  write(writer: BinaryWriter, value: Value): void;
  /** `before` is what an earlier field of the same number gave; it may be changed. */
  read(reader: BinaryReader, before: Value, number: number): Value;
}

type Fields = Readonly<Record<string, Field<unknown, unknown>>>;
type Draft = Record<string, unknown>;

type ValuesOf<F> = {
  -readonly [Name in keyof F]: F[Name] extends Field<infer Value, infer _> ? Value : never;
};
type GivenOf<F> = {
  readonly [Name in keyof F]?: F[Name] extends Field<infer _, infer Given>
    ? Given | undefined
    : never;
};

export interface MessageType<Message, Given> {
  /** What is not given is empty: "", 0, false, [], {} or undefined. */
  fromPartial(given: Given): Message;
  encode(message: Message): Uint8Array;
  /** Skips fields that it does not know; throws when the bytes are no message. */
  decode(bytes: Uint8Array): Message;
  /** Inside of another message. */
  write(writer: BinaryWriter, message: Message): void;
  read(reader: BinaryReader, end: number): Message;
}

export type MessageOf<Type> = Type extends MessageType<infer Message, infer _> ? Message : never;

export function message<F extends Fields>(fields: F): MessageType<ValuesOf<F>, GivenOf<F>>;
export function message(fields: Fields): MessageType<Draft, Draft> {
  const named = Object.entries(fields);
  const byNumber = new Map(
    named.flatMap(([name, field]) =>
      field.numbers.map((number) => [number, { name, field }] as const),
    ),
  );
  const type: MessageType<Draft, Draft> = {
    fromPartial: (given) =>
      Object.fromEntries(
        named.map(([name, field]) => {
          const value = given[name];
          return [name, value === undefined ? field.empty() : field.from(value)];
        }),
      ),
    encode(message) {
      const writer = new BinaryWriter();
      type.write(writer, message);
      return writer.finish();
    },
    decode(bytes) {
      const reader = new BinaryReader(bytes);
      return type.read(reader, reader.len);
    },
    write(writer, message) {
      for (const [name, field] of named) field.write(writer, message[name]);
    },
    read(reader, end) {
      const message = type.fromPartial({});
      while (reader.pos < end) {
        const [number, wireType] = reader.tag();
        const { name, field } = byNumber.get(number) ?? {};
        if (name === undefined || field?.wireType !== wireType) reader.skip(wireType, number);
        else message[name] = field.read(reader, message[name], number);
      }
      if (reader.pos > end) throw new RangeError("a field is longer than its message");
      return message;
    },
  };
  return type;
}

function scalar<Value extends string | number | bigint | boolean>(
  number: number,
  how: {
    readonly empty: Value;
    readonly wireType: WireType;
    readonly write: (writer: BinaryWriter, value: Value) => void;
    readonly read: (reader: BinaryReader) => Value;
  },
): Field<Value, Value> {
  return {
    numbers: [number],
    wireType: how.wireType,
    empty: () => how.empty,
    from: (given) => given,
    write(writer, value) {
      if (value !== how.empty) how.write(writer.tag(number, how.wireType), value);
    },
    read: (reader) => how.read(reader),
  };
}

export const string = (number: number): Field<string, string> =>
  scalar(number, {
    empty: "",
    wireType: WireType.LengthDelimited,
    write: (writer, value) => writer.string(value),
    read: (reader) => reader.string(),
  });

export const bool = (number: number): Field<boolean, boolean> =>
  scalar(number, {
    empty: false,
    wireType: WireType.Varint,
    write: (writer, value) => writer.bool(value),
    read: (reader) => reader.bool(),
  });

export const int32 = (number: number): Field<number, number> =>
  scalar(number, {
    empty: 0,
    wireType: WireType.Varint,
    write: (writer, value) => writer.int32(value),
    read: (reader) => reader.int32(),
  });

/** Bytes of a volume do not fit into a number of JavaScript in general. */
export const int64 = (number: number): Field<bigint, bigint> =>
  scalar(number, {
    empty: 0n,
    wireType: WireType.Varint,
    write: (writer, value) => writer.int64(value),
    read: (reader) => BigInt(reader.int64()),
  });

type Values = Readonly<Record<string, number>>;

export type ValueOf<V> = V[keyof V];

/** A value of a later version of the protocol reads as the first one, CSI's UNKNOWN. */
export function choice<V extends Values>(number: number, values: V): Field<ValueOf<V>, ValueOf<V>>;
export function choice(number: number, values: Values): Field<number, number> {
  const known = new Set(Object.values(values));
  const plain = int32(number);
  return {
    ...plain,
    read(reader, before) {
      const value = plain.read(reader, before, number);
      return known.has(value) ? value : 0;
    },
  };
}

export function one<Message, Given>(
  number: number,
  type: MessageType<Message, Given>,
): Field<Message | undefined, Given> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => undefined,
    from: (given) => type.fromPartial(given),
    write(writer, value) {
      if (value !== undefined) writeNested(writer, number, { type, value });
    },
    read: (reader) => readNested(reader, type),
  };
}

export function many<Message, Given>(
  number: number,
  type: MessageType<Message, Given>,
): Field<Message[], readonly Given[]> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => [],
    from: (given) => given.map((item) => type.fromPartial(item)),
    write(writer, values) {
      for (const value of values) writeNested(writer, number, { type, value });
    },
    read(reader, before) {
      before.push(readNested(reader, type));
      return before;
    },
  };
}

export function strings(number: number): Field<string[], readonly string[]> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => [],
    from: (given) => [...given],
    write(writer, values) {
      for (const value of values) writer.tag(number, WireType.LengthDelimited).string(value);
    },
    read(reader, before) {
      before.push(reader.string());
      return before;
    },
  };
}

type Texts = Record<string, string>;

const Entry = message({ key: string(1), value: string(2) });

/** Texts by their names. */
export function texts(number: number): Field<Texts, Readonly<Texts>> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => ({}),
    from: (given) => ({ ...given }),
    write(writer, value) {
      for (const [key, text] of Object.entries(value)) {
        writeNested(writer, number, { type: Entry, value: { key, value: text } });
      }
    },
    read(reader, before) {
      const { key, value } = readNested(reader, Entry);
      // Defined, not assigned: "__proto__" is a name like any other.
      return Object.defineProperty(before, key, {
        ...{ value, enumerable: true, configurable: true, writable: true },
      });
    },
  };
}

interface Case {
  readonly number: number;
  readonly type: MessageType<unknown, unknown>;
}
type Cases = Readonly<Record<string, Case>>;
type Chosen = { readonly $case: string; readonly value: unknown } | undefined;

type ChosenOf<C> = {
  [Name in keyof C]: C[Name] extends { readonly type: MessageType<infer Message, infer _> }
    ? { $case: Name; value: Message }
    : never;
}[keyof C];
type GivenChoiceOf<C> = {
  [Name in keyof C]: C[Name] extends { readonly type: MessageType<infer _, infer Given> }
    ? { readonly $case: Name; readonly value: Given }
    : never;
}[keyof C];

/** At most one of these messages; the last one that was read counts. */
export function oneof<C extends Cases>(cases: C): Field<ChosenOf<C> | undefined, GivenChoiceOf<C>>;
export function oneof(cases: Cases): Field<Chosen, NonNullable<Chosen>> {
  const byNumber = new Map(
    Object.entries(cases).map(([name, { number, type }]) => [number, { name, type }]),
  );
  return {
    numbers: [...byNumber.keys()],
    wireType: WireType.LengthDelimited,
    empty: () => undefined,
    from({ $case, value }) {
      const found = cases[$case];
      return found === undefined ? undefined : { $case, value: found.type.fromPartial(value) };
    },
    write(writer, chosen) {
      const found = chosen === undefined ? undefined : cases[chosen.$case];
      if (chosen === undefined || found === undefined) return;
      writeNested(writer, found.number, { type: found.type, value: chosen.value });
    },
    read(reader, before, number) {
      const found = byNumber.get(number);
      if (found === undefined) return before;
      return { $case: found.name, value: readNested(reader, found.type) };
    },
  };
}

const BoolValue = message({ value: bool(1) });

/** google.protobuf.BoolValue: a bool that may be absent. */
export function maybeBool(number: number): Field<boolean | undefined, boolean> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => undefined,
    from: (given) => given,
    write(writer, value) {
      if (value !== undefined) writeNested(writer, number, { type: BoolValue, value: { value } });
    },
    read: (reader) => readNested(reader, BoolValue).value,
  };
}

const Timestamp = message({ seconds: int64(1), nanos: int32(2) });
const NANOS_PER_MS = 1_000_000;

/** google.protobuf.Timestamp, to the millisecond. */
export function timestamp(number: number): Field<Date | undefined, Date> {
  return {
    numbers: [number],
    wireType: WireType.LengthDelimited,
    empty: () => undefined,
    from: (given) => given,
    write(writer, time) {
      if (time === undefined) return;
      const seconds = Math.floor(time.getTime() / 1000);
      const nanos = (time.getTime() - seconds * 1000) * NANOS_PER_MS;
      const value = { seconds: BigInt(seconds), nanos };
      writeNested(writer, number, { type: Timestamp, value });
    },
    read(reader) {
      const { seconds, nanos } = readNested(reader, Timestamp);
      return dateOf(Number(seconds) * 1000 + Math.floor(nanos / NANOS_PER_MS));
    },
  };
}

function writeNested<Message, Given>(
  writer: BinaryWriter,
  number: number,
  nested: { readonly type: MessageType<Message, Given>; readonly value: Message },
): void {
  writer.tag(number, WireType.LengthDelimited).fork();
  nested.type.write(writer, nested.value);
  writer.join();
}

function readNested<Message, Given>(
  reader: BinaryReader,
  type: MessageType<Message, Given>,
): Message {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError("a message is longer than what holds it");
  return type.read(reader, end);
}
