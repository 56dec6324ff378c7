// The mark of a volume's first format: a block of the volume itself, so that it travels with the
// volume. Nodes die in the middle of mkfs; what it left must not pass for data on the next one.
//
// The last 63 blocks of 4 KiB of a device are left free by our mkfs, and the first of them is the
// mark: MARK, then zeroes. The order, each step durable before the next:
//   1. the mark is written;
//   2. all before the mark is discarded, unless it is known to be empty;
//   3. mkfs makes a filesystem that ends where the mark is;
//   4. the mark is overwritten with zeroes; from here on the volume may be mounted.
// A volume keeps the order of its writes wherever it is opened, and so do its snapshots. So a mark
// with no filesystem around it says that nobody ever mounted what is there.
//
// The filesystem takes the 63 blocks when it grows, which every stage lets it do; xfs leaves them
// when its last allocation group is full, since 63 blocks are one too few for another group.
//
// A mark inside a filesystem is that filesystem's data: somebody made one on the whole device by
// hand. Growing moves the end of a device, and only what is mounted or a block volume is grown.

export const BLOCK_BYTES = 4096;
const FREE_BYTES = 63 * BLOCK_BYTES;

export const MARK = "weir: the first format of this volume has not ended, and nobody used it yet\n";

/** Where the mark is on a device of that size, and where our mkfs ends; undefined: no room. */
export function markOffset(deviceBytes: number): number | undefined {
  const offset = Math.floor(deviceBytes / BLOCK_BYTES) * BLOCK_BYTES - FREE_BYTES;
  return offset > 0 ? offset : undefined;
}

/** As much of a device's beginning as endOfFilesystem looks at. */
export const HEAD_BYTES = 2048;

const EXT_SUPERBLOCK = 1024;
const EXT_64BIT = 0x80;

/** In bytes, by the superblock of an ext2, ext3, ext4 or xfs; undefined for anything else. */
export function endOfFilesystem(head: Buffer): bigint | undefined {
  if (head.length < HEAD_BYTES) return undefined;
  if (head.toString("latin1", 0, 4) === "XFSB") {
    return head.readBigUInt64BE(8) * BigInt(head.readUInt32BE(4));
  }
  const superblock = head.subarray(EXT_SUPERBLOCK);
  if (superblock.readUInt16LE(0x38) !== 0xef53) return undefined;
  const blockBytes = 1024n << BigInt(superblock.readUInt32LE(0x18) & 0xf);
  const isWide = (superblock.readUInt32LE(0x60) & EXT_64BIT) !== 0;
  const high = isWide ? BigInt(superblock.readUInt32LE(0x150)) : 0n;
  return ((high << 32n) | BigInt(superblock.readUInt32LE(4))) * blockBytes;
}
