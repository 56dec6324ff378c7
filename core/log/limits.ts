// The sizes that the formats fix. native/engine/base/types.h and segment.h hold the same numbers.

/** The unit of the map and of dirtiness. */
export const BLOCK_BYTES = 4096;
/** A frame holds at most 128 KiB before compression. */
export const FRAME_BLOCKS_MAX = 32;
export const FRAME_BYTES_MAX = FRAME_BLOCKS_MAX * BLOCK_BYTES;
export const FRAME_HEADER_BYTES = 32;
/** A chunk is 64 MiB of a volume's address space. */
export const CHUNK_BLOCKS = 16_384;
export const CHUNK_BYTES = CHUNK_BLOCKS * BLOCK_BYTES;
/** 64 TiB. */
export const VOLUME_BLOCKS_MAX = 2 ** 34;
export const VOLUME_BYTES_MAX = VOLUME_BLOCKS_MAX * BLOCK_BYTES;
export const CHUNKS_MAX = VOLUME_BLOCKS_MAX / CHUNK_BLOCKS;

export const SEGMENT_HEADER_BYTES = 128;
/** With its header it fits SEGMENT_INDEX_READ_BYTES: one range GET reads any index. */
export const SEGMENT_TABLE_BYTES_MAX = 120 * 1024;
export const SEGMENT_INDEX_READ_BYTES = 128 * 1024;
/** An object larger than this was not written by Weir; the usual segment is 8 MiB. */
export const SEGMENT_BYTES_MAX = 128 * 1024 * 1024;

export const CHECKPOINT_HEADER_BYTES = 128;
/** The first read of a checkpoint's root takes this much at least (it is enough for 680 GiB) ... */
export const CHECKPOINT_ROOT_READ_BYTES = 256 * 1024;
/** ... and this much at most (10 TiB): a larger root costs a second GET. */
export const CHECKPOINT_ROOT_READ_BYTES_MAX = 4 * 1024 * 1024;

/** Epochs and sequence numbers must fit the 13 descending hex digits of a key. */
export const NUMBER_MAX = 2 ** 52 - 1;

/**
 * Of a SEAL object. A segment is always larger: an empty one is padded
 * (EMPTY_SEGMENT_PADDING_BYTES).
 */
export const SEAL_BYTES = 128;
export const EMPTY_SEGMENT_PADDING_BYTES = 8;
