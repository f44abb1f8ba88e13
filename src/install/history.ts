/**
 * The releases of a site as a tree: each was installed over another one. Going from one to another undoes
 * those on the way back to where their ways part, and then does those again that lead on from there.
 */
import { DrydockError } from "../errors.ts";
import { hexOf, shortDigest } from "../oci/digest.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { asFiles, type FileValue, filesAsTags } from "./files.ts";
import { type TagValue, tagList, valuesOf } from "./tags.ts";

/** What leads from the current release to another. */
export interface Way {
  /** the newest first */
  undone: ReleaseRecord[];
  /** the oldest first */
  redone: ReleaseRecord[];
}

/** The release that this one was installed over, if its record is there and still tells of that time. */
export function releaseBefore(
  record: ReleaseRecord,
  records: readonly ReleaseRecord[],
): ReleaseRecord | undefined {
  // A bundle that was installed once more since has a new place in the history.
  return records.find((one) => one.bundleDigest === record.over && one.sequence < record.sequence);
}

/** @throws DrydockError "input" if a record that is needed is no longer there. */
export function wayTo(target: ReleaseRecord, from: ReleaseRecord, records: readonly ReleaseRecord[]): Way {
  const back = line(from, records);
  const forth = line(target, records);
  const shared = back.find((one) => forth.includes(one));
  if (shared === undefined) {
    throw new DrydockError(
      "input",
      `go from ${nameOf(from)} to ${nameOf(target)}: the record of a release between them is gone`,
      { hint: "Install its bundle again." },
    );
  }
  return {
    undone: back.slice(0, back.indexOf(shared)),
    redone: forth.slice(0, forth.indexOf(shared)).reverse(),
  };
}

/** The release, the one before it, and so on: itself first. */
function line(record: ReleaseRecord, records: readonly ReleaseRecord[]): ReleaseRecord[] {
  const before = releaseBefore(record, records);
  return before === undefined ? [record] : [record, ...line(before, records)];
}

type Moved = Pick<ReleaseRecord, "tagsBefore" | "tagsAfter">;

/** The same for the names below files/. */
export function filesAtEnd({ undone, redone }: Way): FileValue[] {
  return asFiles(tagsAtEnd({ undone: undone.map(filesAsTags), redone: redone.map(filesAsTags) }));
}

/**
 * What every tag that the way touches will name at its end. What no bundle of them set is not among them.
 * Undone, a tag gets the value from before the earliest of those that set it.
 */
export function tagsAtEnd({
  undone,
  redone,
}: {
  undone: readonly Moved[];
  redone: readonly Moved[];
}): TagValue[] {
  const values = new Map<string, TagValue>();
  const set = (value: TagValue) => values.set(`${value.repository}:${value.tag}`, value);
  for (const { tagsBefore, tagsAfter } of undone) valuesOf(tagsAfter, tagsBefore).forEach(set);
  for (const { tagsAfter } of redone) tagList(tagsAfter).forEach(set);
  return [...values.values()];
}

/**
 * The release that a user names: by its number, its name, or the first six digits or more of its digest.
 * @throws DrydockError "input" that lists what there is if it is none of them, or several.
 */
export function findRelease(
  text: string,
  records: readonly ReleaseRecord[],
  current: ReleaseRecord | undefined,
): ReleaseRecord {
  const digits = text.replace(/^sha256:/, "").toLowerCase();
  const found = records.filter(
    ({ release, name, bundleDigest }) =>
      String(release) === text ||
      name === text ||
      (/^[0-9a-f]{6,64}$/.test(digits) && hexOf(bundleDigest).startsWith(digits)),
  );
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  const [what, list] =
    first === undefined ? ["there is no such release here", records] : ["it may be one of several", found];
  throw new DrydockError("input", `release ${JSON.stringify(text)}: ${what}:\n${listed(list, current)}`, {
    hint: "Name it by its number, its name, or the first digits of its digest.",
  });
}

/** One line for each. */
export function listed(records: readonly ReleaseRecord[], current: ReleaseRecord | undefined): string {
  if (records.length === 0) return "  none is installed";
  return records
    .map((one) => {
      const state = one === current ? " (current)" : one.rolledBackAt === undefined ? "" : " (rolled back)";
      return `  ${shortDigest(one.bundleDigest)}  ${nameOf(one)}, installed ${one.installedAt}${state}`;
    })
    .join("\n");
}

/** As errors and results call it. */
export function nameOf({ name, release }: Pick<ReleaseRecord, "name" | "release">): string {
  return `${name}, release ${release}`;
}
