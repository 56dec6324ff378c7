// Branded identifiers: a number or a string that has been checked once, at an edge.

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** 32 lower-case hex digits: the 16 random bytes that name a volume for ever. */
export type VolumeUid = Branded<string, "VolumeUid">;
/** 32 lower-case hex digits, likewise. */
export type SnapshotUid = Branded<string, "SnapshotUid">;
/** 32 lower-case hex digits: names one writer's attempt, or one journal. */
export type Nonce = Branded<string, "Nonce">;
/** 1, 2, 3, ...: the number a writer claims before it may write. 0 means "before the first". */
export type Epoch = Branded<number, "Epoch">;
/** 1, 2, 3, ... within an epoch. 0 means "before the first". */
export type Seq = Branded<number, "Seq">;

/** How far a log is committed. */
export interface Position {
  readonly epoch: Epoch;
  readonly seq: Seq;
}

const HEX32 = /^[0-9a-f]{32}$/u;

export function isHex32(text: string): boolean {
  return HEX32.test(text);
}

/** Brands a value that the caller has checked or made. */
export const asVolumeUid = (text: string): VolumeUid => text as VolumeUid;
export const asSnapshotUid = (text: string): SnapshotUid => text as SnapshotUid;
export const asNonce = (text: string): Nonce => text as Nonce;
export const asEpoch = (value: number): Epoch => value as Epoch;
export const asSeq = (value: number): Seq => value as Seq;

/** Negative, zero or positive as a is before, at or behind b. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.seq - b.seq;
}
