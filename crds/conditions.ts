// Conditions: what a Volume or Snapshot is, why, and what a person can do about it. One entry for
// each type; whoever owns the type writes the whole entry (server-side apply merges by type).
import { z } from "zod";
import { timestamp } from "./common-fields.ts";

const conditionSchema = z
  .object({
    type: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[A-Za-z]+$/u)
      .describe("What is stated: Ready, Attached, Healthy, ..."),
    status: z.enum(["True", "False", "Unknown"]).describe("Whether it holds."),
    reason: z
      .string()
      .min(1)
      .max(64)
      .regex(/^[A-Za-z][A-Za-z0-9]*$/u)
      .describe("Why, in one CamelCase word for programs."),
    message: z.string().max(4096).describe("Why, and what to do about it, in one sentence."),
    lastTransitionTime: timestamp.describe("When the status last changed."),
    observedGeneration: z
      .number()
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .optional()
      .describe("The generation of the object that this is about."),
  })
  .describe("One statement about the object.");
export type Condition = z.infer<typeof conditionSchema>;

export const conditionsSchema = z
  .array(conditionSchema)
  .max(16)
  .describe("What is known about the object, one entry for each type.");

/** What the owner of a condition says; the time of the change follows from the one before. */
export type ConditionContent = Omit<Condition, "lastTransitionTime">;

export function findCondition(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/** Whether the condition is there with that status. */
export function hasCondition(
  conditions: readonly Condition[] | undefined,
  wanted: Pick<Condition, "type" | "status">,
): boolean {
  return findCondition(conditions, wanted.type)?.status === wanted.status;
}

/**
 * The entry to write. The time of the last transition stays while the status does, so writing the
 * same content again changes nothing. `now` is RFC 3339.
 */
export function nextCondition(options: {
  readonly present: readonly Condition[] | undefined;
  readonly content: ConditionContent;
  readonly now: string;
}): Condition {
  const { present, content, now } = options;
  const before = findCondition(present, content.type);
  const isSame = before?.status === content.status;
  return { ...content, lastTransitionTime: isSame ? before.lastTransitionTime : now };
}
