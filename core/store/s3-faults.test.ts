// Goal: every answer of S3 means the right fault, and `nothing landed` is said only when that is
// sure. Method: a table of the answers that AWS documents and of what sockets do.

import { describe, expect, test } from "vitest";
import { nothingLanded, s3Failure, s3Fault } from "./s3-faults.ts";

function answer(name: string, httpStatusCode?: number): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode } });
}

const socket = (code: string): Error => Object.assign(new Error(code), { code });

describe("an S3 failure", () => {
  test.each([
    // [what happened, the fault, may a create have landed]
    [answer("NoSuchBucket", 404), "store-missing", false],
    [answer("UnknownError", 404), "store-missing", false],
    [answer("AccessDenied", 403), "store-denied", false],
    [answer("InvalidAccessKeyId", 403), "store-denied", false],
    [answer("SignatureDoesNotMatch", 403), "store-denied", false],
    [answer("ExpiredToken", 400), "store-denied", false],
    [answer("SomethingNew", 403), "store-denied", false],
    [answer("Unauthorized", 401), "store-denied", false],
    [answer("CredentialsProviderError"), "store-denied", false],
    [new Error("Region is missing"), "invalid-argument", false],
    [answer("RequestTimeTooSkewed", 403), "store-unavailable", false],
    [answer("PermanentRedirect", 301), "invalid-argument", false],
    [answer("TemporaryRedirect", 307), "invalid-argument", false],
    [answer("AuthorizationHeaderMalformed", 400), "invalid-argument", false],
    [answer("NotImplemented", 501), "backend-unsafe", false],
    [answer("QuotaExceeded", 403), "disk-full", false],
    [answer("XMinioStorageFull", 507), "disk-full", false],
    [answer("BadDigest", 400), "store-unavailable", false],
    [answer("TooManyRequests", 429), "store-unavailable", false],
    [answer("InternalError", 500), "store-unavailable", true],
    [answer("SlowDown", 503), "store-unavailable", true],
    [answer("GatewayTimeout", 504), "store-unavailable", true],
    [answer("Accepted", 202), "store-unavailable", true],
    [answer("AbortError"), "store-unavailable", true],
    [answer("TimeoutError"), "store-unavailable", true],
    [socket("ECONNRESET"), "store-unavailable", true],
    [socket("EPIPE"), "store-unavailable", true],
    [socket("ETIMEDOUT"), "store-unavailable", true],
    [socket("ECONNREFUSED"), "store-unavailable", false],
    [socket("ENOTFOUND"), "store-unavailable", false],
    [socket("EAI_AGAIN"), "store-unavailable", false],
    [socket("DEPTH_ZERO_SELF_SIGNED_CERT"), "store-unavailable", false],
    [socket("ERR_TLS_CERT_ALTNAME_INVALID"), "store-unavailable", false],
    [new SyntaxError("an answer that is no XML"), "store-unavailable", true],
    ["thrown text", "store-unavailable", true],
  ])("%s is %s; may it have landed: %s", (thrown, code, mayHaveLanded) => {
    const failure = s3Failure(thrown);
    const fault = s3Fault(failure, { store: "s3://bucket", key: "a" });
    expect(fault.code).toBe(code);
    expect(fault.message).toMatch(/^[a-z].*[^.]$/u);
    expect(fault.details).toMatchObject({ store: "s3://bucket", key: "a" });
    expect(nothingLanded(failure)).toBe(!mayHaveLanded);
  });
});
