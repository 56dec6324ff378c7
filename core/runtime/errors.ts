// The one fault type of Weir. Expected outcomes are values (unions); what is thrown is a WeirError
// whose closed code decides, in FAULTS, how every surface shows it.

/**
 * What to do with a fault, in one table: gRPC code, condition reason, log level, worth retrying.
 */
interface FaultClass {
  readonly grpc:
    | "INVALID_ARGUMENT"
    | "NOT_FOUND"
    | "ALREADY_EXISTS"
    | "FAILED_PRECONDITION"
    | "OUT_OF_RANGE"
    | "RESOURCE_EXHAUSTED"
    | "ABORTED"
    | "UNAVAILABLE"
    | "DEADLINE_EXCEEDED"
    | "DATA_LOSS"
    | "INTERNAL";
  readonly reason: string;
  readonly level: "info" | "warn" | "error";
  readonly retryable: boolean;
}

export const FAULTS = {
  "invalid-argument": fault("INVALID_ARGUMENT", "InvalidArgument", "info", false),
  "not-found": fault("NOT_FOUND", "NotFound", "info", false),
  "name-taken": fault("ALREADY_EXISTS", "NameTaken", "info", false),
  conflict: fault("ALREADY_EXISTS", "Conflict", "info", false),
  "out-of-range": fault("OUT_OF_RANGE", "OutOfRange", "info", false),
  "in-use": fault("FAILED_PRECONDITION", "InUse", "info", false),
  "store-unavailable": fault("UNAVAILABLE", "StoreUnavailable", "warn", true),
  "store-denied": fault("FAILED_PRECONDITION", "StoreAccessDenied", "error", true),
  "store-missing": fault("FAILED_PRECONDITION", "StoreMissing", "error", false),
  "backend-unsafe": fault("FAILED_PRECONDITION", "BackendUnsafe", "error", false),
  "object-corrupt": fault("DATA_LOSS", "ObjectCorrupt", "error", false),
  "format-unknown": fault("FAILED_PRECONDITION", "FormatUnknown", "error", false),
  "journal-corrupt": fault("DATA_LOSS", "JournalCorrupt", "error", false),
  "journal-unsafe": fault("FAILED_PRECONDITION", "JournalUnsafe", "error", false),
  "journal-busy": fault("FAILED_PRECONDITION", "JournalBusy", "error", false),
  "journal-failed": fault("INTERNAL", "JournalFailed", "error", false),
  "disk-full": fault("RESOURCE_EXHAUSTED", "DiskFull", "error", true),
  "dirty-data-elsewhere": fault("FAILED_PRECONDITION", "DirtyDataElsewhere", "error", false),
  fenced: fault("ABORTED", "Fenced", "error", false),
  "transport-unavailable": fault("FAILED_PRECONDITION", "TransportUnavailable", "error", false),
  "engine-unavailable": fault("UNAVAILABLE", "EngineUnavailable", "warn", true),
  "kube-unavailable": fault("UNAVAILABLE", "KubernetesUnavailable", "warn", true),
  "kube-denied": fault("FAILED_PRECONDITION", "KubernetesAccessDenied", "error", true),
  "deadline-exceeded": fault("DEADLINE_EXCEEDED", "DeadlineExceeded", "warn", true),
  aborted: fault("ABORTED", "Aborted", "info", true),
  internal: fault("INTERNAL", "Internal", "error", false),
} as const satisfies Record<string, FaultClass>;

export type FaultCode = keyof typeof FAULTS;

/** Plain values that say where: keys, sizes, epochs. Never a secret. */
export type FaultDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/**
 * A fault. `message` is one sentence a user can act on, without a final full stop; `details` are
 * the variables, kept out of the sentence so that it stays the same for the same fault.
 */
export class WeirError extends Error {
  readonly code: FaultCode;
  readonly details: FaultDetails;

  constructor(
    code: FaultCode,
    message: string,
    options: { details?: FaultDetails; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "WeirError";
    this.code = code;
    this.details = options.details ?? {};
  }
}

function fault(
  grpc: FaultClass["grpc"],
  reason: string,
  level: FaultClass["level"],
  retryable: boolean,
): FaultClass {
  return { grpc, reason, level, retryable };
}

/** What was thrown, in words; anything may be. */
export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
