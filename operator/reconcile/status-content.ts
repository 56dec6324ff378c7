// The operator's part of a status: built from what it decided, and written only when it differs
// from what is there, so that no reconcile wakes itself.
import { isDeepStrictEqual } from "node:util";

import { FAULTS, type FaultCode } from "../../core/runtime/errors.ts";
import { nextCondition, type Condition, type ConditionContent } from "../../crds/conditions.ts";

/** `code` undefined: nothing is wrong, it only has to wait. */
export interface Reason {
  readonly reason: string;
  readonly message: string;
}

export function because(fault: { readonly code: FaultCode; readonly message: string }): Reason {
  return { reason: FAULTS[fault.code].reason, message: fault.message };
}

export interface StatusContent {
  /** Fields of the operator beside the conditions; what is undefined is not there. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly conditions: readonly ConditionContent[];
}

/**
 * The status to apply, or undefined when it holds already. `owned` are the types of conditions that
 * are the operator's: one that is left out must go.
 */
export function statusToApply(options: {
  readonly present:
    | ({ readonly conditions?: readonly Condition[] | undefined } & object)
    | undefined;
  readonly content: StatusContent;
  readonly ownedConditions: readonly string[];
  readonly now: string;
}): object | undefined {
  const { present, content, ownedConditions, now } = options;
  const conditions = content.conditions.map((condition) =>
    nextCondition({ present: present?.conditions, content: condition, now }),
  );
  const fields = Object.fromEntries(
    Object.entries(content.fields).filter(([, value]) => value !== undefined),
  );
  const shown = Object.entries(present ?? {}).filter(([name]) => name in content.fields);
  const mine = present?.conditions?.filter(({ type }) => ownedConditions.includes(type)) ?? [];
  const isSame =
    isDeepStrictEqual(
      Object.fromEntries(shown.filter(([, value]) => value !== undefined)),
      fields,
    ) && isDeepStrictEqual(byType(mine), byType(conditions));
  return isSame ? undefined : { ...fields, conditions };
}

function byType(conditions: readonly Condition[]): readonly Condition[] {
  return conditions.toSorted((a, b) => (a.type < b.type ? -1 : 1));
}
