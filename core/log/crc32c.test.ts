// Goal: the checksum is CRC32C and can be continued. Method: published check values, and random
// splits.

import * as fc from "fast-check";
import { expect, test } from "vitest";

import { crc32c } from "./crc32c.ts";

test("it gives the published values", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array())).toBe(0);
  // RFC 3720, B.4: 32 bytes of zeros, of ones, ascending.
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
});

test("a checksum continued over parts is that of the whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
      expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(crc32c(bytes));
    }),
  );
});
