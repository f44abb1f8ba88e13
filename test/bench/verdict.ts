/** A figure beside its goal. */
import { columns } from "../../src/cli/format.ts";

export interface Verdict {
  what: string;
  value: number;
  /** none: it is told for comparison */
  goal?: string;
  reached?: boolean;
}

/** @param goal none: it is told for comparison @returns nothing where it was not measured */
export function judge(what: string, value: number, relation: "≤" | "≥" | "<", goal?: number): Verdict[] {
  if (!Number.isFinite(value)) return [];
  if (goal === undefined) return [{ what, value }];
  const reached = relation === "≥" ? value >= goal : relation === "≤" ? value <= goal : value < goal;
  return [{ what, value, goal: `${relation} ${goal}`, reached }];
}

export function verdictLines(found: Verdict[]): string {
  const rows = found.map(({ what, value, goal, reached }) => [
    what,
    value >= 100 ? value.toFixed(0) : value.toFixed(2),
    goal === undefined ? "" : `goal ${goal}`,
    reached === undefined ? "" : reached ? "reached" : "NOT reached",
  ]);
  return columns(rows, { right: [1] });
}
