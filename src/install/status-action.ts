/** What `status` says of an action that is under way, or was interrupted. */
import type { Journal } from "../site/journal.ts";
import type { Finding } from "./finding.ts";
import { minute } from "./preflight-system.ts";
import { expiry } from "./status-certificates.ts";

/** While an action is half done, what it has changed may be wrong: what ends that is to complete it. */
export function withoutHint({ check, level, text, hint }: Finding): Finding {
  const own = [expiry, "engine", "clock"].includes(check);
  return { check, level, text, ...(own && hint !== undefined ? { hint } : {}) };
}

export function checkAction(journal: Journal | undefined, holder: number | undefined): Finding[] {
  const who = holder ? ` (process ${holder})` : "";
  if (journal === undefined) {
    if (holder === undefined) return [];
    return [{ check: "action", level: "ok", text: `another drydock${who} is working here just now` }];
  }
  const { action, name, release, begunAt } = journal;
  const to = action === "rollback" ? "to" : "of";
  const what = action === "prune" ? "a prune" : `the ${action} ${to} ${name}, release ${release}`;
  const text = `${what}, begun on ${minute(new Date(begunAt))},`;
  if (holder !== undefined) return [{ check: "action", level: "ok", text: `${text} is under way${who}` }];
  return [
    {
      check: "action",
      level: "error",
      text: `${text} was interrupted`,
      hint: whatCompletes(journal),
    },
  ];
}

function whatCompletes(journal: Journal): string {
  if (journal.action === "prune") return "`drydock prune` completes it, and starts the registry again.";
  if (journal.action === "rollback") return goesOn(journal);
  return `${goesOn(journal)}\n\`drydock rollback\` puts back what was before instead, without the bundle.`;
}

/** What to do about an action that was interrupted. */
export function goesOn({ command }: Journal): string {
  const again = "Run the same command again: it goes on where it was";
  return command === undefined ? `${again}.` : `${again}:\n\`${command}\``;
}
