// What the statuses of an API server's answers mean to Weir.

import { z } from "zod";
import { WeirError } from "../runtime/errors.ts";
import type { HttpAnswer } from "./kube-http.ts";

const StatusSchema = z.object({
  message: z.string().default(""),
  reason: z.string().default(""),
  code: z.number().optional(),
  details: z
    .object({ name: z.string().optional(), retryAfterSeconds: z.number().optional() })
    .default({}),
});

type ServerStatus = z.infer<typeof StatusSchema>;

/** What is refused for its content, for a version that moved on, or for what is not there. */
export type Refusal =
  | { readonly kind: "exists" }
  | { readonly kind: "conflict"; readonly message: string }
  | { readonly kind: "invalid"; readonly message: string }
  | { readonly kind: "absent" };

/** The answer's JSON when it is a success; throws what is a fault and not an outcome. */
export function jsonOf(
  answer: HttpAnswer,
): { readonly kind: "success"; readonly json: unknown } | Refusal {
  const { status, text } = answer;
  if (status === 200 || status === 201 || status === 202) {
    return { kind: "success", json: parsed(text) };
  }
  return refusalOf(status, statusOf(text));
}

/** An outcome, or a throw. */
function refusalOf(code: number, status: ServerStatus): Refusal {
  switch (code) {
    case 400:
    case 413:
    case 422:
      return { kind: "invalid", message: status.message };
    case 403:
      // Quota and admission speak of the content; missing rights are the installation's fault.
      if (/user "[^"]*" cannot /iu.test(status.message)) throw denied(code, status);
      return { kind: "invalid", message: status.message };
    case 404:
      // Without a name it is not the object that is missing, but its kind.
      if (status.details.name === undefined || status.details.name === "") {
        throw fault("the API server does not know this kind: install Weir's CRDs", code, status);
      }
      return { kind: "absent" };
    case 409:
      if (status.reason === "AlreadyExists") return { kind: "exists" };
      return { kind: "conflict", message: status.message };
    case 401:
      throw denied(code, status);
    default:
      throw fault("the API server could not serve a request: check its health", code, status);
  }
}

/** What an ERROR event of a watch means: an expired version, or a fault to throw. */
export function watchErrorOf(object: unknown): WeirError | "expired" {
  const parsed = StatusSchema.safeParse(object);
  const status = parsed.success ? parsed.data : statusOf("");
  const code = status.code ?? 0;
  if (code === 410 || status.reason === "Expired" || status.reason === "Gone") return "expired";
  return fault("the API server ended a watch with an error", code, status);
}

/** The fault behind an answer that is no outcome of the call at hand. */
export function unexpected(refusal: Refusal): WeirError {
  const message = "message" in refusal ? refusal.message : refusal.kind;
  return new WeirError("kube-unavailable", "the API server refused to serve a request", {
    details: { outcome: refusal.kind, problem: message },
  });
}

function denied(code: number, status: ServerStatus): WeirError {
  return new WeirError(
    "kube-denied",
    "the API server denies access: check the service account and its role bindings",
    { details: { code, problem: status.message } },
  );
}

function fault(message: string, code: number, status: ServerStatus): WeirError {
  const { retryAfterSeconds } = status.details;
  return new WeirError("kube-unavailable", message, {
    details: { code, reason: status.reason, problem: status.message, retryAfterSeconds },
  });
}

/** Proxies between us and the server answer with pages of their own. */
function statusOf(text: string): ServerStatus {
  try {
    return StatusSchema.parse(JSON.parse(text));
  } catch {
    return { message: text.slice(0, 200), reason: "", details: {} };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new WeirError("kube-unavailable", "the API server's answer was cut short", {
      cause: error,
    });
  }
}
