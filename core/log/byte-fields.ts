// Little-endian fields of the on-bucket formats, read with bounds and written with range checks.
// A read that does not fit ends in `object-corrupt`, so that no decoder can fail in any other way.

import { WeirError } from "../runtime/errors.ts";
import type { FaultDetails } from "../runtime/errors.ts";

/**
 * Says that an object's bytes are not what Weir wrote. `what` finishes the sentence "… because".
 */
export function corrupt(what: string, details: FaultDetails = {}): WeirError {
  return new WeirError("object-corrupt", `the object cannot be used because ${what}`, { details });
}

/** Says that the object is of a format this release does not know. */
export function formatUnknown(object: string, version: number, known: number): WeirError {
  const message =
    `the ${object} has a format that this release of Weir does not know: ` +
    "use the release that wrote it, or a newer one";
  return new WeirError("format-unknown", message, { details: { version, known } });
}

/** Runs a decoder and adds the object's key to what it says about damage. */
export function naming<T>(key: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    if (!(cause instanceof WeirError)) throw cause;
    throw new WeirError(cause.code, cause.message, { details: { ...cause.details, key }, cause });
  }
}

/** Reads fields at fixed offsets of one byte sequence. */
export class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(offset: number): number {
    this.#need(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#need(offset, 2);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.#need(offset, 4);
    return this.#view.getUint32(offset, true);
  }

  /** A u64 that a JavaScript number holds exactly; Weir never writes a larger one. */
  u64(offset: number): number {
    this.#need(offset, 8);
    const value = this.#view.getBigUint64(offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt("a 64-bit field is out of range");
    return Number(value);
  }

  /** 16 bytes as 32 lower-case hex digits, in byte order. */
  hex16(offset: number): string {
    return Buffer.from(this.part(offset, 16)).toString("hex");
  }

  ascii(offset: number, length: number): string {
    return Buffer.from(this.part(offset, length)).toString("latin1");
  }

  /** A view, not a copy. */
  part(offset: number, length: number): Uint8Array {
    this.#need(offset, length);
    return this.#bytes.subarray(offset, offset + length);
  }

  #need(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.#bytes.length) {
      throw corrupt("it ends too early", { offset, length, bytes: this.#bytes.length });
    }
  }
}

/** Writes fields at fixed offsets of a buffer of fixed size. A value out of range is a defect. */
export class FieldWriter {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  u8(offset: number, value: number): void {
    checkRange(value, 0xff);
    this.#view.setUint8(offset, value);
  }

  u16(offset: number, value: number): void {
    checkRange(value, 0xffff);
    this.#view.setUint16(offset, value, true);
  }

  u32(offset: number, value: number): void {
    checkRange(value, 0xffffffff);
    this.#view.setUint32(offset, value, true);
  }

  u64(offset: number, value: number): void {
    checkRange(value, Number.MAX_SAFE_INTEGER);
    this.#view.setBigUint64(offset, BigInt(value), true);
  }

  hex16(offset: number, hex: string): void {
    const bytes = Buffer.from(hex, "hex");
    if (bytes.length !== 16)
      throw new WeirError("internal", "an identifier is not 16 bytes of hex");
    this.bytes.set(bytes, offset);
  }

  ascii(offset: number, text: string): void {
    this.bytes.set(Buffer.from(text, "latin1"), offset);
  }
}

function checkRange(value: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new WeirError("internal", "a value does not fit its field", { details: { value, max } });
  }
}
