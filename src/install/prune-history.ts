/**
 * Which releases a prune keeps, and what their records say afterwards: as if those that go had never been
 * installed. Nothing here reads or writes.
 */
import type { Digest } from "../oci/digest.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { filesAsTags, fileTable } from "./files.ts";
import { filesAtEnd, releaseBefore, tagsAtEnd } from "./history.ts";
import { type TagValue, tagList, tagTable, valuesOf } from "./tags.ts";

/**
 * The current release and those that rollback would go back to one after the other, `count` in all; and of
 * every other bundle that was installed before, by name, its last release: it is served beside the current one.
 * @returns the current one first
 */
export function keptReleases(
  records: readonly ReleaseRecord[],
  current: ReleaseRecord,
  count: number,
): ReleaseRecord[] {
  const names = new Set<string>();
  return lineOf(current, records).filter(({ name }, place) => {
    const first = !names.has(name);
    names.add(name);
    return place < count || first;
  });
}

function lineOf(record: ReleaseRecord, records: readonly ReleaseRecord[]): ReleaseRecord[] {
  const before = releaseBefore(record, records);
  return before === undefined ? [record] : [record, ...lineOf(before, records)];
}

/**
 * The records of those that are kept, each over the next one that is kept. A tag's value from before is then
 * that from before the releases in between.
 * @param kept the current one first @param removed those that go, and those that went before
 */
export function historyWithout(
  kept: readonly ReleaseRecord[],
  removed: readonly ReleaseRecord[],
): ReleaseRecord[] {
  return kept.map((record, place) => {
    const base = kept[place + 1];
    const between = inEffect(removed).filter(
      ({ sequence }) => sequence < record.sequence && sequence > (base?.sequence ?? 0),
    );
    const { over, ...rest } = record;
    const way = { undone: [record, ...between], redone: [] };
    const tagsBefore = tagTable(valuesOf(record.tagsAfter, tagTable(tagsAtEnd(way))));
    const files = fileTable(
      filesAtEnd(way).filter(({ name }) => Object.hasOwn(record.filesAfter ?? {}, name)),
    );
    return {
      ...{ ...rest, ...(base === undefined ? {} : { over: base.bundleDigest }), tagsBefore },
      ...(record.filesBefore === undefined ? {} : { filesBefore: files }),
    };
  });
}

/** The newest first. Those that were rolled back have left nothing in the tags. */
function inEffect(records: readonly ReleaseRecord[]): ReleaseRecord[] {
  return records.filter((one) => one.rolledBackAt === undefined).sort((a, b) => b.sequence - a.sequence);
}

/** A tag of releases that go: what they gave it, and what it named before them. */
export interface LeftTag extends TagValue {
  given: Set<Digest>;
}

/** The tags that no release sets that is kept. */
export function tagsLeft(kept: readonly ReleaseRecord[], removed: readonly ReleaseRecord[]): LeftTag[] {
  const keptTags = new Set(kept.flatMap(({ tagsAfter }) => tagList(tagsAfter).map(nameOfTag)));
  const undone = inEffect(removed);
  const values = undone.flatMap(({ tagsAfter }) => tagList(tagsAfter));
  const given = Map.groupBy(values, nameOfTag);
  return tagsAtEnd({ undone, redone: [] })
    .filter((value) => !keptTags.has(nameOfTag(value)))
    .map((value) => ({
      ...value,
      given: new Set(given.get(nameOfTag(value))?.map(({ digest }) => digest)),
    }));
}

/** The names below files/ likewise; `tag` is the name. */
export function filesLeft(kept: readonly ReleaseRecord[], removed: readonly ReleaseRecord[]): LeftTag[] {
  const asTags = (record: ReleaseRecord) => ({ ...record, ...filesAsTags(record) });
  return tagsLeft(kept.map(asTags), removed.map(asTags));
}

export function nameOfTag({ repository, tag }: Pick<TagValue, "repository" | "tag">): string {
  return `${repository}:${tag}`;
}
