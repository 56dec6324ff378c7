// What a bench says: one row per figure, with the bar it is held against, printed as a table.

export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** `>= 1` or `<= 150`; absent for figures that only inform. */
  readonly bar?: string;
  readonly ok: boolean;
}

/** A figure that stands beside the others without a bar. */
export function inform(name: string, value: number, unit: string): Row {
  return { name, value: rounded(value), unit, ok: true };
}

export function atLeast(name: string, value: number, unit: string, bar: number): Row {
  return { name, value: rounded(value), unit, bar: `>= ${bar}`, ok: value >= bar };
}

export function atMost(name: string, value: number, unit: string, bar: number): Row {
  return { name, value: rounded(value), unit, bar: `<= ${bar}`, ok: value <= bar };
}

export function printTable(rows: readonly Row[]): void {
  const width = Math.max(...rows.map((row) => row.name.length));
  for (const { name, value, unit, bar, ok } of rows) {
    const verdict = bar === undefined ? "" : `${bar.padEnd(12)} ${ok ? "ok" : "MISSED"}`;
    console.log(
      `${name.padEnd(width)}  ${String(value).padStart(12)} ${unit.padEnd(9)} ${verdict}`,
    );
  }
}

/** The middle of the runs: the machines are noisy, single runs say little. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new Error("a median needs at least one run");
  return middle;
}

function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
