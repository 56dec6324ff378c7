// CRC32C (Castagnoli, reflected polynomial 0x82f63b78) as every format of Weir uses it: initial
// value and final XOR are all ones, so crc32c("123456789") is 0xe3069283.

const TABLE = makeTable();

/**
 * The checksum of `bytes`, continuing from `previous`: crc32c(b, crc32c(a)) equals that of a + b.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous;
  for (const byte of bytes) {
    // The index is always below 256; the fallback only satisfies noUncheckedIndexedAccess.
    crc = (TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function makeTable(): Uint32Array {
  const table = new Uint32Array(256);
  for (let index = 0; index < table.length; index += 1) {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) {
      value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0x82f63b78;
    }
    table[index] = value >>> 0;
  }
  return table;
}
