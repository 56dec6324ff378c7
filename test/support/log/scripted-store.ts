// A store in which the test scripts the next outcomes of create, get and list; what is not scripted
// goes on to the store behind it.

import type {
  CreateOutcome,
  GetOutcome,
  ListPage,
  ObjectStore,
} from "../../../core/store/object-store.ts";

type CreateScript = (apply: () => Promise<CreateOutcome>) => Promise<CreateOutcome>;

export class ScriptedStore implements ObjectStore {
  readonly label = "scripted:";
  readonly #inner: ObjectStore;
  /** Taken from the front, one for each call. */
  readonly creates: CreateScript[] = [];
  readonly gets: (() => Promise<GetOutcome>)[] = [];
  readonly lists: (() => Promise<ListPage>)[] = [];
  /** The calls, in order: `PUT key`, `GET key`, `LIST prefix`, `DELETE key`. */
  readonly calls: string[] = [];

  constructor(inner: ObjectStore) {
    this.#inner = inner;
  }

  create: ObjectStore["create"] = (key, body, options) => {
    this.calls.push(`PUT ${key}`);
    const apply = (): Promise<CreateOutcome> => this.#inner.create(key, body, options);
    const script = this.creates.shift();
    return script === undefined ? apply() : script(apply);
  };

  get: ObjectStore["get"] = (key, options) => {
    this.calls.push(`GET ${key}`);
    const script = this.gets.shift();
    return script === undefined ? this.#inner.get(key, options) : script();
  };

  list: ObjectStore["list"] = (prefix, options) => {
    this.calls.push(`LIST ${prefix}`);
    const script = this.lists.shift();
    return script === undefined ? this.#inner.list(prefix, options) : script();
  };

  delete: ObjectStore["delete"] = (key, options) => {
    this.calls.push(`DELETE ${key}`);
    return this.#inner.delete(key, options);
  };

  async [Symbol.asyncDispose](): Promise<void> {}
}
