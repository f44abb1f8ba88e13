/**
 * The site's journal, `<site>/journal.json`: what the running action does. It is on disk before anything changes
 * that is seen, and removed when all is done; so one that is there without a process says that an action was
 * interrupted, and what was served before it.
 */
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DrydockError } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { cannotWrite, syncFolder, writeDurably } from "./durable.ts";
import { jsonText, readJson, withoutRecords } from "./json-file.ts";
import type { SiteLayout } from "./layout.ts";
import { readMarker } from "./marker.ts";
import { type Files, isFiles, isTags, type Tags } from "./record.ts";

export interface Journal {
  action: "install" | "rollback" | "prune";
  /** of the bundle that is installed, or of the release that is gone back to */
  bundleDigest: Digest;
  /** that bundle's name and release, for people */
  name: string;
  release: number;
  /** the command as it was typed, if it is known: the same one goes on */
  command?: string;
  /** RFC 3339, in UTC; of the first try */
  begunAt: string;
  /** The values of the tags that move, before any of them moved; a tag that wasn't there is absent. */
  tagsBefore: Tags;
  /** What those tags will name; a tag that will be removed is absent. */
  tagsAfter: Tags;
  /** The same for files/, whose contents are kept by their digests. Absent where an earlier drydock wrote it, as the next. */
  filesBefore?: Files;
  filesAfter?: Files;
  /** What certs/ held, and will hold. */
  certificatesBefore?: Digest;
  certificatesAfter?: Digest;
}

/** @returns undefined if nothing is under way @throws DrydockError "host" if it cannot be read or is none. */
export async function readJournal(layout: SiteLayout): Promise<Journal | undefined> {
  const value = await readJson(layout.journal, withoutRecords);
  if (value === undefined || isJournal(value)) return value;
  throw new DrydockError("host", `read "${layout.journal}": it is not a journal of drydock's`);
}

/**
 * The journal of an install or rollback that did not come to its end. One that is complete but for the
 * journal's removal is none.
 */
export async function readInterrupted(layout: SiteLayout): Promise<Journal | undefined> {
  const journal = await readJournal(layout);
  if (journal === undefined || journal.action === "prune") return undefined;
  return (await isComplete(layout, journal)) ? undefined : journal;
}

/** Whether the site's marker says that all of it was done. */
export async function isComplete(layout: SiteLayout, journal: Journal): Promise<boolean> {
  const { current, completed } = await readMarker(layout);
  // An earlier drydock did not say which action it was.
  return completed === undefined ? journal.bundleDigest === current : journal.begunAt === completed;
}

/** The prune that did not come to its end. It moved nothing that could be put back: the next prune completes it. */
export async function readInterruptedPrune(layout: SiteLayout): Promise<Journal | undefined> {
  const journal = await readJournal(layout);
  return journal?.action === "prune" ? journal : undefined;
}

/** Writes it, whole and on disk when this returns. @throws DrydockError "host" */
export async function writeJournal(layout: SiteLayout, journal: Journal): Promise<void> {
  await writeDurably(layout.journal, jsonText(journal));
}

/** The action is complete. Does nothing if there is no journal. @throws DrydockError "host" */
export async function removeJournal(layout: SiteLayout): Promise<void> {
  if ((await readJson(layout.journal, withoutRecords)) === undefined) return;
  try {
    await rm(layout.journal, { force: true });
    await syncFolder(dirname(layout.journal));
  } catch (error) {
    throw cannotWrite(layout.journal, error);
  }
}

function isJournal(value: unknown): value is Journal {
  if (typeof value !== "object" || value === null) return false;
  const journal = value as Partial<Record<keyof Journal, unknown>>;
  return (
    ["install", "rollback", "prune"].includes(String(journal.action)) &&
    isDigest(String(journal.bundleDigest)) &&
    typeof journal.name === "string" &&
    typeof journal.release === "number" &&
    typeof journal.begunAt === "string" &&
    isTags(journal.tagsBefore) &&
    isTags(journal.tagsAfter) &&
    [journal.filesBefore, journal.filesAfter].every((files) => files === undefined || isFiles(files)) &&
    [journal.certificatesBefore, journal.certificatesAfter].every(
      (digest) => digest === undefined || isDigest(String(digest)),
    )
  );
}
