// An engine that took a volume over serves with its predecessor's epoch; before it may upload it
// claims its own. In the background: reads and writes do not wait for it.
import { openLog, type OpenedLog } from "../../core/log/open-log.ts";
import type { LogContext } from "../../core/log/context.ts";
import { FAULTS, WeirError } from "../../core/runtime/errors.ts";
import { comparePositions, type Position, type VolumeUid } from "../../core/runtime/ids.ts";

const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 5_000;

export type ClaimOutcome =
  | { readonly kind: "claimed"; readonly log: OpenedLog }
  /** The log holds what the predecessor did not name: the volume must be opened anew over it. */
  | { readonly kind: "moved"; readonly position: Position };

/**
 * Claims by the rule of a restart, for as long as the signal lives: `fenced` when another node has
 * claimed meanwhile, any other fault that may pass is noted and met with another try.
 */
export async function claimAgain(
  options: LogContext & {
    readonly volume: VolumeUid;
    readonly writer: string;
    /** Where the log stood when the volume changed hands. */
    readonly expected: Position;
    readonly onTrouble: (fault: WeirError) => void;
  },
): Promise<ClaimOutcome> {
  const { clock, random, signal, expected, onTrouble } = options;
  for (let pauseMs = RETRY_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, RETRY_LAST_MS)) {
    try {
      const log = await openLog({ ...options, resume: true });
      const { position } = log.committed;
      if (comparePositions(position, expected) === 0) return { kind: "claimed", log };
      return { kind: "moved", position };
    } catch (cause) {
      signal.throwIfAborted();
      const mayPass =
        cause instanceof WeirError && cause.code !== "fenced" && FAULTS[cause.code].retryable;
      if (!mayPass) throw cause;
      onTrouble(cause);
      await clock.sleep(pauseMs * (0.5 + random.fraction() / 2), signal);
    }
  }
}
