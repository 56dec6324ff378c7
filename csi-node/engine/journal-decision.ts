// What to do with a journal found on this node, given the log in the bucket. Pure.
import type { Nonce } from "../../core/runtime/ids.ts";
import type { OpenedLog } from "../../core/log/open-log.ts";
import type { JournalIdentity } from "./block-engine.ts";

export type JournalDecision =
  /** There is none: begin one at the committed position. */
  | { readonly kind: "fresh" }
  /** It is the newest writer's: its records behind `journalEnd` are dirty and go on. */
  | { readonly kind: "replay"; readonly journalId: Nonce; readonly journalEnd: number }
  /** Another writer committed after it: set it aside, never replay it. */
  | { readonly kind: "strand"; readonly journalId: Nonce };

/**
 * A journal may be replayed exactly when nobody else committed since its own last commit: the
 * newest committed segment is its own, or the log still stands where the journal began.
 */
export function decideJournal(
  journal: JournalIdentity | null,
  log: Pick<OpenedLog, "committed">,
): JournalDecision {
  if (journal === null) return { kind: "fresh" };
  const { committed } = log;
  const { journalId } = journal;
  if (committed.journalId === journalId) {
    return { kind: "replay", journalId, journalEnd: committed.journalEnd };
  }
  const { epoch, seq } = committed.position;
  if (epoch === journal.baseEpoch && seq === journal.baseSeq)
    return { kind: "replay", journalId, journalEnd: 0 };
  return { kind: "strand", journalId };
}
