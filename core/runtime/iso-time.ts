// Times as people and Kubernetes write them (RFC 3339, UTC). For records only, never a decision.

/** `2030-01-01T00:00:00Z`. */
export function isoSeconds(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/u, "Z");
}

/** `2030-01-01T00:00:00.000000Z`: what Kubernetes calls MicroTime. */
export function isoMicros(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/Z$/u, "000Z");
}

/** A time from outside, as an object that protocols have for it. */
export function dateOf(wallMs: number): Date {
  return new Date(wallMs);
}

/** The time that Kubernetes wrote; an invalid Date for what is no time. */
export function parseIsoTime(text: string): Date {
  return new Date(text);
}
