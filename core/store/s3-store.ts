// The S3 store: the only file that talks to the AWS SDK.
//
// - One call is one HTTP request: the SDK's own retries are off, because a hidden second PUT turns
//   our own success into a 412. Who calls decides what a lost answer means.
// - The payload is not hashed for the signature (UNSIGNED-PAYLOAD, as S3 documents it): SHA-256 of
//   8 MiB was more than half of the CPU of a PUT. A CRC32 header, which the service checks, guards
//   the way there, and the frames' own CRC32C guards every way back.
// - A service may refuse a large body before it has read it, and reset the connection: then the
//   refusal can be lost, and a create is `ambiguous` instead of `exists`. Waiting for its go-ahead
//   (100-continue) would cost each PUT a round trip, and with the SDK a new connection; reading
//   back settles both.
// - Each request has a deadline that grows with its bytes; a half-open connection ends with it.

import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { crc32 } from "node:zlib";
import { WeirError } from "../runtime/errors.ts";
import type { Clock } from "../runtime/ports.ts";
import type { Secret } from "../runtime/secret.ts";
import { abortReason, checkAbort } from "../runtime/timer-signals.ts";
import type {
  ByteRange,
  CallOptions,
  CreateOutcome,
  GetOutcome,
  ListPage,
  ListedObject,
  ObjectStore,
} from "./object-store.ts";
import { dropBody, readBody } from "./read-body.ts";
import { nothingLanded, s3Failure, s3Fault } from "./s3-faults.ts";
import {
  LIST_OBJECTS_MAX,
  checkKey,
  checkLimit,
  checkPrefix,
  checkRange,
  isKey,
} from "./store-arguments.ts";

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: Secret;
  readonly sessionToken?: Secret;
}

export interface S3StoreOptions {
  readonly bucket: string;
  /** Before every key, without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
  /** Undefined for AWS itself. */
  readonly endpoint?: string;
  /** Undefined: from the environment. */
  readonly region?: string;
  /** Undefined: from the environment, files or metadata service, as AWS's tools do. */
  readonly credentials?: S3Credentials;
  readonly clock: Clock;
  /** A request may take this long plus the time of its bytes at `bytesPerSecondMin`. */
  readonly requestTimeoutMs?: number;
  readonly bytesPerSecondMin?: number;
}

const REQUEST_TIMEOUT_MS = 15_000;
const BYTES_PER_SECOND_MIN = 128 * 1024;
const CONNECT_TIMEOUT_MS = 5000;
const SOCKETS_MAX = 64;
/** Shorter than services keep idle connections, so that a request seldom meets a dead one. */
const IDLE_SOCKET_TIMEOUT_MS = 10_000;
/** The most that a GET without a range may bring. */
const WHOLE_OBJECT_BYTES_MAX = 256 * 2 ** 20;

export class S3Store implements ObjectStore {
  readonly label: string;
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #keyPrefix: string;
  readonly #clock: Clock;
  readonly #requestTimeoutMs: number;
  readonly #bytesPerMsMin: number;

  constructor(options: S3StoreOptions) {
    const { bucket, prefix } = options;
    this.label = prefix === "" ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    this.#client = connect(options);
    this.#bucket = bucket;
    this.#keyPrefix = prefix === "" ? "" : `${prefix}/`;
    this.#clock = options.clock;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    this.#bytesPerMsMin = (options.bytesPerSecondMin ?? BYTES_PER_SECOND_MIN) / 1000;
  }

  async create(key: string, body: Uint8Array, options: CallOptions = {}): Promise<CreateOutcome> {
    checkKey(key);
    checkAbort(options.signal);
    using signal = this.#deadline(body.length, options.signal);
    const command = new PutObjectCommand({
      ...this.#object(key),
      Body: body,
      ContentLength: body.length,
      IfNoneMatch: "*",
      ChecksumCRC32: checksum(body),
    });
    try {
      const answer = await this.#client.send(command, { abortSignal: signal });
      // The ETag tells S3's answer from that of something else that answers 200 to everything.
      const isStored = answer.$metadata.httpStatusCode === 200 && answer.ETag !== undefined;
      if (isStored) return { kind: "created" };
      return { kind: "ambiguous", cause: this.#noUsableAnswer(key, answer.$metadata) };
    } catch (error) {
      return this.#createFailed(key, error);
    }
  }

  async get(
    key: string,
    options: CallOptions & { readonly range?: ByteRange } = {},
  ): Promise<GetOutcome> {
    checkKey(key);
    checkRange(options.range);
    checkAbort(options.signal);
    const { range, signal: parent } = options;
    try {
      const answer = await this.#beginGet(key, range, parent);
      return await this.#readAnswer(key, { answer, range, parent });
    } catch (error) {
      const { name, status } = s3Failure(error);
      if (name === "NoSuchKey") return { kind: "absent" };
      if (status === 416) return await this.#emptyRange(key, parent);
      throw this.#fault(error, { key, parent });
    }
  }

  async list(
    prefix: string,
    options: CallOptions & { readonly after?: string; readonly limit?: number } = {},
  ): Promise<ListPage> {
    const { after = "", limit = LIST_OBJECTS_MAX } = options;
    checkPrefix(prefix);
    checkLimit(limit);
    checkAbort(options.signal);
    using signal = this.#deadline(0, options.signal);
    const command = new ListObjectsV2Command({
      Bucket: this.#bucket,
      Prefix: this.#keyPrefix + prefix,
      MaxKeys: limit,
      ...(after === "" ? {} : { StartAfter: this.#keyPrefix + after }),
    });
    try {
      const answer = await this.#client.send(command, { abortSignal: signal });
      if (answer.IsTruncated === undefined) throw notAListing(this.label);
      const keys = (answer.Contents ?? []).map((object) => this.#ownKey(object.Key ?? ""));
      const objects = (answer.Contents ?? []).flatMap((object, index): ListedObject[] => {
        const key = keys[index] ?? "";
        // What a stranger put there is none of our objects.
        if (!isKey(key)) return [];
        const modifiedAtMs = object.LastModified?.getTime() ?? 0;
        return [{ key, sizeBytes: object.Size ?? 0, modifiedAtMs }];
      });
      const last = keys.at(-1);
      return answer.IsTruncated && last !== undefined ? { objects, next: last } : { objects };
    } catch (error) {
      throw this.#fault(error, { parent: options.signal });
    }
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    checkKey(key);
    checkAbort(options.signal);
    using signal = this.#deadline(0, options.signal);
    try {
      await this.#client.send(new DeleteObjectCommand(this.#object(key)), { abortSignal: signal });
    } catch (error) {
      if (s3Failure(error).name === "NoSuchKey") return;
      throw this.#fault(error, { key, parent: options.signal });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
  }

  #createFailed(key: string, error: unknown): CreateOutcome {
    const failure = s3Failure(error);
    if (failure.status === 412) return { kind: "exists" };
    if (failure.status === 409) return { kind: "conflict" };
    const fault = s3Fault(failure, { store: this.label, key });
    if (nothingLanded(failure)) throw fault;
    return { kind: "ambiguous", cause: fault };
  }

  /** Sends the GET and waits for its headers. */
  async #beginGet(
    key: string,
    range: ByteRange | undefined,
    parent: AbortSignal | undefined,
  ): Promise<GetObjectCommandOutput> {
    using signal = this.#deadline(0, parent);
    const part = range === undefined ? {} : { Range: rangeHeader(range) };
    const command = new GetObjectCommand({ ...this.#object(key), ...part });
    return await this.#client.send(command, { abortSignal: signal });
  }

  async #readAnswer(
    key: string,
    options: {
      readonly answer: GetObjectCommandOutput;
      readonly range: ByteRange | undefined;
      readonly parent: AbortSignal | undefined;
    },
  ): Promise<GetOutcome> {
    const { answer, range, parent } = options;
    try {
      const { promisedBytes, objectBytes } = this.#checkAnswer(key, answer, range);
      using signal = this.#deadline(promisedBytes, parent);
      const bytes = await readBody(answer.Body, promisedBytes, signal);
      return { kind: "found", bytes, objectBytes };
    } catch (error) {
      dropBody(answer.Body);
      throw error;
    }
  }

  /** The range lies behind the object's end; only some services say where that is. */
  async #emptyRange(key: string, parent: AbortSignal | undefined): Promise<GetOutcome> {
    using signal = this.#deadline(0, parent);
    const command = new HeadObjectCommand(this.#object(key));
    try {
      const answer = await this.#client.send(command, { abortSignal: signal });
      const objectBytes = answer.ContentLength ?? 0;
      return { kind: "found", bytes: new Uint8Array(0), objectBytes };
    } catch (error) {
      if (s3Failure(error).status === 404) return { kind: "absent" };
      throw this.#fault(error, { key, parent });
    }
  }

  /** Checks what an answer claims to be against what was asked. */
  #checkAnswer(
    key: string,
    answer: GetObjectCommandOutput,
    range: ByteRange | undefined,
  ): { promisedBytes: number; objectBytes: number } {
    const { ContentLength: length, ContentRange: sent } = answer;
    if (range === undefined && length !== undefined && length <= WHOLE_OBJECT_BYTES_MAX) {
      return { promisedBytes: length, objectBytes: length };
    }
    const part = /^bytes (\d+)-(\d+)\/(\d+)$/u.exec(sent ?? "");
    const [first, last, objectBytes] = (part ?? []).slice(1).map(Number);
    if (range !== undefined && objectBytes !== undefined && first === range.offset) {
      const end = Math.min(range.offset + range.length, objectBytes);
      const promisedBytes = end - first;
      const isAsAsked = last === end - 1 && (length ?? promisedBytes) === promisedBytes;
      if (isAsAsked) return { promisedBytes, objectBytes };
    }
    const asked = range === undefined ? "all" : rangeHeader(range);
    throw new WeirError(
      "store-unavailable",
      "the S3 service sent another part than was asked for",
      {
        details: { store: this.label, key, asked, sent: sent ?? "all", sentBytes: length },
      },
    );
  }

  #fault(error: unknown, options: { key?: string; parent: AbortSignal | undefined }): WeirError {
    const { key, parent } = options;
    if (parent?.aborted === true) return abortReason(parent);
    if (error instanceof WeirError) return error;
    const details = key === undefined ? { store: this.label } : { store: this.label, key };
    return s3Fault(s3Failure(error), details);
  }

  #noUsableAnswer(key: string, metadata: { httpStatusCode?: number }): WeirError {
    const status = metadata.httpStatusCode;
    const failure = { name: "NoSuccess", status, errno: undefined, cause: undefined };
    return s3Fault(failure, { store: this.label, key });
  }

  #deadline(bytes: number, parent: AbortSignal | undefined): AbortSignal & Disposable {
    return this.#clock.deadline(this.#requestTimeoutMs + bytes / this.#bytesPerMsMin, parent);
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: this.#keyPrefix + key };
  }

  #ownKey(key: string): string {
    return key.slice(this.#keyPrefix.length);
  }
}

function notAListing(store: string): WeirError {
  return new WeirError("store-unavailable", "the S3 service answered with something else", {
    details: { store },
  });
}

function connect(options: S3StoreOptions): S3Client {
  const { endpoint, region, credentials } = options;
  const agent = { keepAlive: true, maxSockets: SOCKETS_MAX, timeout: IDLE_SOCKET_TIMEOUT_MS };
  const client = new S3Client({
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    ...(region === undefined ? {} : { region }),
    ...(credentials === undefined ? {} : { credentials: plainCredentials(credentials) }),
    maxAttempts: 1,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // See the head of this file.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      httpAgent: agent,
      httpsAgent: agent,
      logger: SILENT,
    },
    logger: SILENT,
  });
  client.middlewareStack.add(
    (next) => (call) => {
      setHeader(call.request, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
      return next(call);
    },
    { step: "build", name: "weirUnsignedPayload" },
  );
  return client;
}

/** The SDK's own log lines go nowhere: every failure comes back as a fault and is logged once. */
const SILENT = {
  trace: (): void => {},
  debug: (): void => {},
  info: (): void => {},
  warn: (): void => {},
  error: (): void => {},
};

function plainCredentials(credentials: S3Credentials): {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
} {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  return {
    accessKeyId,
    secretAccessKey: secretAccessKey.reveal(),
    ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.reveal() }),
  };
}

/** The SDK types its requests as unknown. */
function setHeader(request: unknown, name: string, value: string): void {
  if (typeof request !== "object" || request === null || !("headers" in request)) return;
  const { headers } = request;
  if (typeof headers === "object" && headers !== null) Object.assign(headers, { [name]: value });
}

const rangeHeader = ({ offset, length }: ByteRange): string =>
  `bytes=${offset}-${offset + length - 1}`;

function checksum(body: Uint8Array): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString("base64");
}
