// A request that is refused for what it asks: the word that events show for it is finer than that
// of the table of faults.
import { WeirError, type FaultDetails } from "../../core/runtime/errors.ts";

export type RefusalReason =
  | "SizeInvalid"
  | "ParameterUnknown"
  | "ParameterInvalid"
  | "AccessModeUnsupported"
  | "FilesystemUnsupported";

export class Refusal extends WeirError {
  readonly reason: RefusalReason;

  constructor(
    reason: RefusalReason,
    message: string,
    options: {
      readonly code?: "invalid-argument" | "out-of-range";
      readonly details?: FaultDetails;
    } = {},
  ) {
    const { code = "invalid-argument", details = {} } = options;
    super(code, message, { details });
    this.reason = reason;
  }
}
