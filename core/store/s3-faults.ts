// What an S3 answer means. An answer is known by its error code and HTTP status; a failure without
// an answer by the errno of the socket. Three questions are asked of each: may the request have
// done its work, which fault is it, and what can its reader do.

import { type FaultCode, WeirError } from "../runtime/errors.ts";

/** What is known of a request that failed. */
export interface S3Failure {
  /** S3's error code such as `NoSuchBucket`, or the name of the client's own error. */
  readonly name: string;
  /** Undefined when no answer came. */
  readonly status: number | undefined;
  readonly errno: string | undefined;
  readonly cause: unknown;
}

type Meaning = readonly [code: FaultCode, message: string];

const DENIED: Meaning = [
  "store-denied",
  "the bucket refuses Weir's credentials; check the access key, its policy and its expiry",
];
const UNSAFE: Meaning = [
  "backend-unsafe",
  "the S3 service does not support a request that Weir's safety needs; use one that does",
];
const OTHER_REGION: Meaning = [
  "invalid-argument",
  "the bucket lies in another region; set `region` in the store's URL",
];
const UNAVAILABLE: Meaning = [
  "store-unavailable",
  "the S3 service gives no usable answer; it is tried again",
];

/** The client's words: this error of its has no name. */
const REGION_MISSING = "Region is missing";

const MEANING_OF_NAME: Readonly<Record<string, Meaning>> = {
  NoSuchBucket: [
    "store-missing",
    "the bucket does not exist; create it or correct the store's URL",
  ],
  AccessDenied: DENIED,
  AllAccessDisabled: DENIED,
  AccountProblem: DENIED,
  ExpiredToken: DENIED,
  InvalidAccessKeyId: DENIED,
  InvalidToken: DENIED,
  SignatureDoesNotMatch: DENIED,
  CredentialsProviderError: [
    "store-denied",
    "there are no S3 credentials; give them to Weir in its configuration or environment",
  ],
  // The client learns the server's time from this answer, so the next attempt succeeds.
  RequestTimeTooSkewed: [
    "store-unavailable",
    "this machine's clock is wrong by more than S3 allows; set it",
  ],
  QuotaExceeded: ["disk-full", "the bucket's quota is used up; raise it or free some space"],
  XMinioStorageFull: ["disk-full", "the S3 service has no space left; free some"],
  NotImplemented: UNSAFE,
  [REGION_MISSING]: [
    "invalid-argument",
    "the bucket's region is not known; set `region` in the store's URL, or AWS_REGION",
  ],
  PermanentRedirect: OTHER_REGION,
  AuthorizationHeaderMalformed: OTHER_REGION,
};

/** Socket errors from before a request could leave. */
const NEVER_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

export function s3Failure(error: unknown): S3Failure {
  if (!(error instanceof Error)) {
    return { name: "unknown", status: undefined, errno: undefined, cause: error };
  }
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  // Node gives an abort a code as well, but it is no errno.
  const errno = code === "ABORT_ERR" ? undefined : code;
  const name = error.message === REGION_MISSING ? REGION_MISSING : error.name;
  return { name, status: statusOf(error), errno, cause: error };
}

/** True when the request certainly changed nothing, so that a create need not be read back. */
export function nothingLanded(failure: S3Failure): boolean {
  const { name, status, errno } = failure;
  if (name === "CredentialsProviderError" || name === REGION_MISSING) return true;
  if (status === undefined) return NEVER_SENT.has(errno ?? "") || isCertificateError(errno);
  // 400 covers bodies that were cut or damaged on the way; 408 and 429 ask for another try.
  return meaningOf(failure)[0] !== "store-unavailable" || (status >= 300 && status < 500);
}

export function s3Fault(failure: S3Failure, details: { store: string; key?: string }): WeirError {
  const [code, message] = meaningOf(failure);
  const { name, status, errno, cause } = failure;
  return new WeirError(code, message, { details: { ...details, name, status, errno }, cause });
}

function meaningOf({ name, status, errno }: S3Failure): Meaning {
  const known = MEANING_OF_NAME[name];
  if (known !== undefined) return known;
  if (isCertificateError(errno)) {
    return [
      "store-unavailable",
      "the certificate of the S3 service is not trusted; give its CA in NODE_EXTRA_CA_CERTS",
    ];
  }
  if (errno === "ENOTFOUND" || errno === "ECONNREFUSED") {
    return ["store-unavailable", "nothing answers at the S3 endpoint; check the store's URL"];
  }
  if (errno === undefined && (name === "AbortError" || name === "TimeoutError")) {
    return ["store-unavailable", "the S3 service did not answer in time; it is tried again"];
  }
  switch (status) {
    case 301:
    case 307:
      return OTHER_REGION;
    case 401:
    case 403:
      return DENIED;
    case 404:
      return [
        "store-missing",
        "what answers at the S3 endpoint does not look like S3; check the store's URL",
      ];
    case 501:
      return UNSAFE;
    case 507:
      return ["disk-full", "the S3 service has no space left; free some"];
    case undefined:
    default:
      return UNAVAILABLE;
  }
}

function isCertificateError(errno: string | undefined): boolean {
  if (errno === undefined) return false;
  return /^(?:CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/u.test(errno);
}

function statusOf(error: Error): number | undefined {
  if (!("$metadata" in error)) return undefined;
  const metadata: unknown = error.$metadata;
  if (typeof metadata !== "object" || metadata === null) return undefined;
  if (!("httpStatusCode" in metadata)) return undefined;
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined;
}
