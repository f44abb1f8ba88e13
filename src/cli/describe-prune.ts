/** What `prune` removed, or would remove, as text for people. */
import type { PrunedRelease, PruneResult } from "../install/prune.ts";
import { count, formatBytes, printable } from "./format.ts";

/** So many tags are named; --json has them all. */
const tagsShown = 5;

export function describePrune({ site, removed, putBack, kept, dryRun, proof }: PruneResult): string {
  const { releases, tags, blobs, bytes, files } = removed;
  const stays = `kept: ${kept.map(nameOf).join("; ")}`;
  if (releases.length + tags.length + blobs + bytes + putBack.length === 0)
    return printable(`Nothing to prune at ${site}.\n  ${stays}`, true);
  const lines = [
    `${formatBytes(bytes)} ${dryRun ? "would be" : "are"} free again at ${site}.`,
    `  ${dryRun ? "would go" : "gone"}: ${releases.map(nameOf).join("; ") || "no release; leftovers alone"}`,
    `  ${[count(tags.length, "tag"), count(blobs, "blob"), count(files.length, "file")].join(", ")}`,
    ...named(tags, "").map((line) => `    ${line}`),
    ...named(putBack, " names again what it named before").map((line) => `    ${line}`),
    `  ${stays}`,
  ];
  if (proof !== undefined) lines.push(`  proven over TLS; ${count(proof.tags, "tag")} as recorded`);
  if (dryRun) lines.push("", "Nothing was changed.");
  return printable(lines.join("\n"), true);
}

function named(tags: readonly string[], what: string): string[] {
  const shown = tags.slice(0, tagsShown).map((tag) => `${tag}${what}`);
  return tags.length > tagsShown ? [...shown, `and ${tags.length - tagsShown} more`] : shown;
}

function nameOf({ name, release }: PrunedRelease): string {
  return `${name}, release ${release}`;
}
