/** What `rollback` did, as text for people. */
import type { ReleaseName, RollbackResult } from "../install/rollback.ts";
import { url } from "./describe-install.ts";
import { count, printable } from "./format.ts";

export function describeRollback(result: RollbackResult): string {
  const { site, from, to, interrupted, tagsMoved, tagsRemoved, container, certificates, proof } = result;
  const tags = `moved ${count(tagsMoved, "tag")}, removed ${count(tagsRemoved, "tag")}`;
  if (result.givenBack !== undefined) return printable(returnText(result, tags), true);
  if (to === undefined || proof === undefined) {
    const head = `The interrupted install of ${nameOf(from)} at ${site} is undone; nothing is served.`;
    return printable(`${head}\n  ${tags}\n  container "registry": ${container ?? "there was none"}`, true);
  }
  const names = [...new Set(proof.addresses.map(({ as }) => as))];
  const lines = [
    `${headOf(result, to)} at ${site}, and answers at ${url(result.addresses, result.port ?? 443)}.`,
    `  ${tags}`,
    `  certificates: ${certificateWords[certificates]}`,
    `  container "registry": ${container ?? "unchanged"}`,
    `  proven over TLS as ${names.join(", ")}; ${count(proof.tags, "tag")} as recorded`,
  ];
  if (!interrupted && from.digest !== to.digest)
    lines.push("", `To go to the other one again:\n\n    drydock rollback ${from.digest.slice(0, 12)}`);
  return printable(lines.join("\n"), true);
}

function returnText(result: RollbackResult, tags: string): string {
  const { container, running } = result.givenBack ?? {};
  const state =
    container === undefined
      ? "there was none before"
      : `the one that was there before, ${running ? "and it runs" : "stopped as it was"}`;
  return [
    `What was at ${result.site} before drydock is given back, and drydock's records are gone.`,
    `  ${tags}`,
    `  certificates: ${result.certificates === "unchanged" ? "as they were" : "those from before"}`,
    `  container "registry": ${state}`,
    "  what the bundles brought besides stays in the storage, and no tag names it",
    "",
    "To take it over again:\n\n    drydock install BUNDLE --adopt",
  ].join("\n");
}

function headOf({ from, interrupted }: RollbackResult, to: ReleaseName): string {
  if (interrupted) return `The interrupted install of ${nameOf(from)} is undone: ${nameOf(to)} is served`;
  if (from.digest === to.digest) return `${nameOf(to)} is served already`;
  const other = from.name === to.name ? `release ${from.release}` : nameOf(from);
  return `${nameOf(to)}, is served instead of ${other}`;
}

function nameOf({ name, release }: ReleaseName): string {
  return `${name}, release ${release}`;
}

const certificateWords: Record<RollbackResult["certificates"], string> = {
  unchanged: "as they were",
  "put back": "those of that release",
  kept: "the present ones, since those of that release would not serve",
};
