// Writes a protocol's messages and services as TypeScript, in the words of core/csi/wire.ts: one
// line for a field. Only what the wanted RPCs reach; what this cannot write stops it.
import { isFieldSet } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FieldDescriptorProtoSchema,
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  type ServiceDescriptorProto,
} from "@bufbuild/protobuf/wkt";

/** `csi_secret`, an option that CSI adds to fields. */
const SECRET_OPTION = 1059;
const COLUMNS_MAX = 100;

const scalars: Readonly<Partial<Record<Type, string>>> = {
  [Type.STRING]: "string",
  [Type.BOOL]: "bool",
  [Type.INT32]: "int32",
  [Type.INT64]: "int64",
};
const wellKnown: Readonly<Record<string, string>> = {
  ".google.protobuf.BoolValue": "maybeBool",
  ".google.protobuf.Timestamp": "timestamp",
};

export interface Wanted {
  readonly file: FileDescriptorProto;
  /** The RPCs of each service. */
  readonly services: Readonly<Record<string, readonly string[]>>;
  /** Messages that are left out wherever they are a field. */
  readonly omitted: readonly string[];
}

export function typescriptOf(wanted: Wanted): string {
  return new Writer(wanted).text();
}

class Writer {
  readonly #wanted: Wanted;
  readonly #messages = new Map<string, DescriptorProto>();
  readonly #enums = new Map<string, EnumDescriptorProto>();
  /** In an order in which each knows those it uses. */
  readonly #written = new Map<string, string>();
  readonly #kinds = new Set<string>();

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
    const { file } = wanted;
    for (const choice of file.enumType) this.#enums.set(`.${file.package}.${choice.name}`, choice);
    for (const message of file.messageType) this.#collect(message, `.${file.package}`);
  }

  text(): string {
    const { file, services } = this.#wanted;
    const texts = Object.entries(services).map(([name, rpcs]) => {
      const service = file.service.find((found) => found.name === name);
      if (service === undefined) throw new Error(`${file.name} has no service ${name}`);
      return this.#service(service, rpcs);
    });
    const kinds = [...[...this.#kinds, "message"].toSorted(byWord), "type MessageOf"];
    if (this.#kinds.has("choice")) kinds.push("type ValueOf");
    return [
      'import { rpc, service } from "../service-definition.ts";',
      wrapped("import { ", kinds, ' } from "../wire.ts";'),
      "",
      ...this.#written.values(),
      ...texts,
    ].join("\n");
  }

  #collect(message: DescriptorProto, scope: string): void {
    const name = `${scope}.${message.name}`;
    this.#messages.set(name, message);
    for (const choice of message.enumType) this.#enums.set(`${name}.${choice.name}`, choice);
    for (const nested of message.nestedType) this.#collect(nested, name);
  }

  #service(service: ServiceDescriptorProto, rpcs: readonly string[]): string {
    const { file } = this.#wanted;
    const lines = rpcs.map((name) => {
      const method = service.method.find((found) => found.name === name);
      if (method === undefined || method.clientStreaming || method.serverStreaming) {
        throw new Error(`${service.name} has no RPC ${name} of one request and one answer`);
      }
      const types = [method.inputType, method.outputType].map((type) => this.#message(type));
      const handler = name.replace(/^./u, (letter) => letter.toLowerCase());
      return `${wrapped(`  ${handler}: rpc(`, types, "),")}\n`;
    });
    const { name } = service;
    const head = `export const ${name}Service = service("${file.package}.${name}", {`;
    return `${head}\n${lines.join("")}});\n`;
  }

  /** Its name, after it and what it uses were written. */
  #message(type: string): string {
    const name = this.#nameOf(type);
    if (this.#written.has(name)) return name;
    const message = this.#messages.get(type);
    if (message === undefined)
      throw new Error(`${type} is no message of ${this.#wanted.file.name}`);
    const fields = message.field.filter((field) => this.#isKept(field));
    const members = this.#fields(message, fields);
    const text = [
      `${objectCall(`export const ${name} = message(`, members)};\n`,
      // The empty object needs no name for its type.
      members.length === 0 ? "" : aliased(name, "MessageOf"),
    ];
    this.#written.set(name, text.join(""));
    return name;
  }

  /** Secrets are never used; what is not read cannot be logged. */
  #isKept({ options, typeName }: FieldDescriptorProto): boolean {
    const isSecret = options?.$unknown?.some(({ no }) => no === SECRET_OPTION) === true;
    return !isSecret && !this.#wanted.omitted.includes(typeName);
  }

  #fields(message: DescriptorProto, fields: readonly FieldDescriptorProto[]): string[] {
    const cases = new Map<number, string[]>();
    const lines: (() => string)[] = [];
    for (const field of fields) {
      if (!isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex)) {
        const line = `${field.jsonName}: ${this.#field(message, field)}`;
        lines.push(() => line);
        continue;
      }
      const one = `${field.jsonName}: { number: ${field.number}, type: ${this.#case(field)} }`;
      const before = cases.get(field.oneofIndex);
      before?.push(one);
      if (before !== undefined) continue;
      const all = [one];
      cases.set(field.oneofIndex, all);
      const name = camelCase(message.oneofDecl[field.oneofIndex]?.name ?? "");
      lines.push(() => objectCall(`  ${name}: ${this.#kind("oneof")}(`, all).trimStart());
    }
    return lines.map((line) => line());
  }

  #case(field: FieldDescriptorProto): string {
    if (field.type !== Type.MESSAGE)
      throw new Error(`${field.name}: a oneof of more than messages`);
    return this.#message(field.typeName);
  }

  #field(message: DescriptorProto, field: FieldDescriptorProto): string {
    const { number, type, typeName } = field;
    const isMany = field.label === Label.REPEATED;
    const simple = scalars[type] ?? wellKnown[typeName];
    if (simple !== undefined && !isMany) return call(this.#kind(simple), [String(number)]);
    if (isMany && type === Type.STRING) return call(this.#kind("strings"), [String(number)]);
    if (isMany && isTexts(message, typeName)) return call(this.#kind("texts"), [String(number)]);
    if (type === Type.MESSAGE) {
      const kind = this.#kind(isMany ? "many" : "one");
      return call(kind, [String(number), this.#message(typeName)]);
    }
    if (type === Type.ENUM && !isMany) {
      return call(this.#kind("choice"), [String(number), this.#enum(typeName)]);
    }
    throw new Error(`${message.name}.${field.name}: wire.ts knows no field like this one`);
  }

  #enum(type: string): string {
    const name = this.#nameOf(type);
    const choice = this.#enums.get(type);
    if (choice === undefined) throw new Error(`${type} is no enum of ${this.#wanted.file.name}`);
    const values = choice.value.map((value) => `${value.name}: ${value.number}`);
    const text = [
      `${wrapped(`export const ${name} = { `, values, " } as const;")}\n`,
      aliased(name, "ValueOf"),
    ];
    this.#written.set(name, text.join(""));
    return name;
  }

  #kind(name: string): string {
    this.#kinds.add(name);
    return name;
  }

  /** `.csi.v1.VolumeCapability.AccessMode` is `VolumeCapability_AccessMode`. */
  #nameOf(type: string): string {
    return type.slice(this.#wanted.file.package.length + 2).replaceAll(".", "_");
  }
}

function isTexts(message: DescriptorProto, typeName: string): boolean {
  const entry = message.nestedType.find(({ name }) =>
    typeName.endsWith(`.${message.name}.${name}`),
  );
  return entry?.options?.mapEntry === true && entry.field.every(({ type }) => type === Type.STRING);
}

function call(name: string, parts: readonly string[]): string {
  return `${name}(${parts.join(", ")})`;
}

/** `name({ ... })`, on one line when it fits; `head` ends in the opening parenthesis. */
function objectCall(head: string, members: readonly string[]): string {
  if (members.length === 0) return `${head}{})`;
  const line = `${head}{ ${members.join(", ")} })`;
  if (line.length < COLUMNS_MAX) return line;
  const indent = /^ */u.exec(head)?.[0] ?? "";
  const lines = members.map((member) => `${indent}  ${member},\n`);
  return `${head}{\n${lines.join("")}${indent}})`;
}

/** A list in brackets, on one line when it fits. */
function wrapped(head: string, members: readonly string[], tail: string): string {
  const line = `${head}${members.join(", ")}${tail}`;
  if (line.length <= COLUMNS_MAX) return line;
  const indent = /^ */u.exec(head)?.[0] ?? "";
  const comma = head.endsWith("<") ? "" : ",";
  const lines = members.map((member) => `${indent}  ${member}${comma}\n`);
  return `${head.trimEnd()}\n${lines.join("")}${indent}${tail.trimStart()}`;
}

/** The type of a constant, under its name. */
function aliased(name: string, kind: string): string {
  return `${wrapped(`export type ${name} = ${kind}<`, [`typeof ${name}`], ">;")}\n`;
}

function byWord(left: string, right: string): number {
  return left < right ? -1 : 1;
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/gu, (_match, letter: string) => letter.toUpperCase());
}
