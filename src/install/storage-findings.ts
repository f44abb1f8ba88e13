/** What was found of a storage, as findings: with the commands that mend it. */
import { isDigest, shortDigest } from "../oci/digest.ts";
import { shellWord } from "../shell-words.ts";
import type { ReleaseRecord } from "../site/record.ts";
import type { Finding } from "./finding.ts";
import { neededBy } from "./needed-by.ts";
import type { DamagedBlob, StorageFound } from "./status-storage.ts";

/** The check's name where bytes or links are not as recorded: it has an exit code of its own. */
export const storage = "storage";

/** So many are described; `storage` in the JSON has all. */
const shown = 8;

export function storageFindings(found: StorageFound, current: ReleaseRecord): Finding[] {
  const findings = [
    ...damagedFindings(found.damaged, current),
    ...linkFindings(found, current),
    ...tagFindings(found, current),
  ];
  if (found.denied.length > 0) {
    findings.push({
      check: storage,
      level: "warning",
      text: `${found.denied.length} files may not be looked at, the first is ${found.denied[0]}`,
      hint: "Run the command as root to have all of it checked.",
    });
  }
  return findings;
}

/** So many files are named to be taken away; more are found again by the next look. */
const namedAway = 50;

/** One for each bundle that mends some of it. */
function damagedFindings(damaged: readonly DamagedBlob[], current: ReleaseRecord): Finding[] {
  const groups = Map.groupBy(damaged, ({ bundle }) => bundle.digest);
  return [...groups.values()].flatMap((some): Finding[] => {
    const [first] = some;
    if (first === undefined) return [];
    const head = some.length === 1 ? "a blob is damaged" : `${some.length} blobs are damaged`;
    const lines = some.map(
      ({ digest, text, neededBy: users }) => `${shortDigest(digest)}${neededBy(users)}: ${text}`,
    );
    const { name, release, digest } = first.bundle;
    const isOlder = name === current.name && release < current.release;
    const hint = [
      `To mend it, with the bundle of ${name}, release ${release} (digest ${shortDigest(digest)}):`,
      ...takeAway(some),
      ...(isOlder
        ? [
            "  `drydock install BUNDLE --allow-downgrade`",
            `and then, since that release is served by this, back to release ${current.release}:`,
            `  \`drydock rollback ${shortDigest(current.bundleDigest)}\``,
          ]
        : ["  `drydock install BUNDLE`"]),
    ];
    return [
      { check: storage, level: "error", text: [head, ...cut(lines)].join("\n"), hint: hint.join("\n") },
    ];
  });
}

/** An install replaces by itself what is missing or has another size, and takes the rest for whole. */
function takeAway(damaged: readonly DamagedBlob[]): string[] {
  const away = damaged.filter(({ problem }) => problem === "other bytes" || problem === "unreadable");
  const lines = away.slice(0, namedAway).map(({ path }) => `  \`rm ${shellWord(path)}\``);
  if (away.length > namedAway) lines.push(`  (${away.length - namedAway} more: look again afterwards)`);
  return lines;
}

function linkFindings({ links }: StorageFound, current: ReleaseRecord): Finding[] {
  if (links.length === 0) return [];
  const head =
    links.length === 1 ? "a link is missing or changed" : `${links.length} links are missing or changed`;
  const text = [head, ...cut([...links].sort())].join("\n");
  return [{ check: storage, level: "error", text, hint: putBack(current) }];
}

/** Where clients may push, they may move tags, too. */
function tagFindings({ tags }: StorageFound, current: ReleaseRecord): Finding[] {
  if (tags.length === 0) return [];
  const pushes = current.settings.access === "push";
  const head = tags.length === 1 ? "a tag is not as recorded" : `${tags.length} tags are not as recorded`;
  const lines = [...tags]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, recorded, now }) =>
      now === undefined
        ? `${name} is missing; it should name ${shortDigest(recorded)}`
        : `${name} names ${isDigest(now) ? shortDigest(now) : "no digest"}; it should name ${shortDigest(recorded)}`,
    );
  return [
    {
      check: storage,
      level: pushes ? "warning" : "error",
      text: [head, ...cut(lines)].join("\n"),
      hint: pushes ? `A client may have pushed it. ${putBack(current)}` : putBack(current),
    },
  ];
}

function putBack({ name, release }: ReleaseRecord): string {
  return `\`drydock install BUNDLE\`, with the bundle of ${name}, release ${release}, puts it right.`;
}

function cut(lines: readonly string[]): string[] {
  if (lines.length <= shown) return lines.map((line) => `  ${line}`);
  const rest = `  and ${lines.length - shown} more (--json lists all)`;
  return [...lines.slice(0, shown).map((line) => `  ${line}`), rest];
}
