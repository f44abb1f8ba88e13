/** What preflight finds, one by one; and the error that stops an install where some of it stands in the way. */
import { DrydockError } from "../errors.ts";

export interface Finding {
  /** a word or two: "engine", "port", "space" */
  check: string;
  level: "ok" | "warning" | "error";
  text: string;
  /** what to do, a whole sentence; a command in it stands between backticks */
  hint?: string;
}

/** An expected failure of a check is a finding too. */
export function findingOf(error: DrydockError, check = "host"): Finding {
  return {
    check,
    level: "error",
    text: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}

/**
 * @throws DrydockError "preflight" if one of them is an error: the one with its hint, of several the names;
 *   its data are all the findings.
 */
export function failOnErrors(findings: Finding[]): void {
  const errors = findings.filter(({ level }) => level === "error");
  const [first] = errors;
  if (first === undefined) return;
  const data = { findings };
  if (errors.length === 1) {
    throw new DrydockError("preflight", `${first.check}: ${first.text}`, { hint: first.hint, data });
  }
  const checks = [...new Set(errors.map(({ check }) => check))].join(", ");
  throw new DrydockError("preflight", `${errors.length} things stand in the way: ${checks}`, {
    hint: "What each is, and what to do about it, stands above. Nothing was written.",
    data,
  });
}
