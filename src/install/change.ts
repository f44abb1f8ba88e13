/**
 * What an action changes of what is served: tags, files and certificates as they are before it and will be after
 * it. Both are on disk, in the journal, before anything is seen of it; so whatever happens, one and the same
 * function puts back what was before: when the action fails, and when it was interrupted and another comes.
 */
import type { Engine } from "../engine/engine.ts";
import { errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { readAdopted } from "../site/adopted.ts";
import { type Journal, readInterrupted, removeJournal, writeJournal } from "../site/journal.ts";
import {
  type CertificateFiles,
  keepCertificates,
  readCertificates,
  showCertificates,
} from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { currentRelease } from "../site/record.ts";
import { makeReserve } from "../site/reserve.ts";
import { restoreAdopted } from "./adopted-container.ts";
import { removeContainers } from "./containers.ts";
import { asFiles, type FileValue, filesAsTags, fileTable, keepShown, setFiles } from "./files.ts";
import { nameOf } from "./history.ts";
import { removeUnusedCertificates } from "./kept.ts";
import { serveCurrent } from "./serve.ts";
import { readTagsNow, setTags, type TagValue, tagTable, valuesBack } from "./tags.ts";

export interface Change extends Pick<Journal, "bundleDigest" | "name" | "release"> {
  action: "install" | "rollback";
  /** the command as it was typed, if it is known */
  command: string | undefined;
  /** what they will name and show; of those that are left out nothing changes */
  tags: readonly TagValue[];
  files: readonly FileValue[];
  /** what certs/ will hold */
  certificates: Digest;
}

/**
 * Writes the journal; on disk when this returns, with some room for what is to come. Of an action that goes on,
 * what was before it stays what it was before its first try. @throws DrydockError "host"
 */
export async function beginChange(layout: SiteLayout, change: Change): Promise<Journal> {
  const { action, bundleDigest, name, release, command, tags, files, certificates } = change;
  const earlier = await readInterrupted(layout);
  const journal: Journal = {
    ...{ action, bundleDigest, name, release, ...(command === undefined ? {} : { command }) },
    ...(earlier && isSame(earlier, change) ? before(earlier) : await presentState(layout, tags, files)),
    tagsAfter: tagTable(tags),
    filesAfter: fileTable(files),
    certificatesAfter: certificates,
  };
  // The record and the receipt list the same tags, each twice.
  await makeReserve(layout, 4 * JSON.stringify(journal).length);
  await writeJournal(layout, journal);
  return journal;
}

function before({ begunAt, tagsBefore, filesBefore, certificatesBefore }: Journal) {
  return {
    ...{ begunAt, tagsBefore, ...(filesBefore && { filesBefore }) },
    ...(certificatesBefore && { certificatesBefore }),
  };
}

async function presentState(layout: SiteLayout, tags: readonly TagValue[], files: readonly FileValue[]) {
  return {
    begunAt: new Date().toISOString(),
    tagsBefore: await readTagsNow(tags, layout),
    filesBefore: await keepShown(files, layout),
    certificatesBefore: await keepCertificates(layout, await readCertificates(layout)),
  };
}

export interface PutBack {
  /** how many tags */
  moved: number;
  removed: number;
  /** whether certs/ held others */
  certificates: boolean;
}

/** Tags, files and certificates are what they were before. Can be repeated. @throws DrydockError "host" */
export async function putBackState(layout: SiteLayout, journal: Journal): Promise<PutBack> {
  const tags = await setTags(valuesBack(journal), layout);
  await setFiles(asFiles(valuesBack(filesAsTags(journal))), layout);
  const certificates = await showCertificates(await certificatesBefore(layout, journal), layout);
  return { ...tags, certificates };
}

/** What certs/ holds once an action that was interrupted, if there is one, is put back. @throws DrydockError "host" */
export async function certificatesBefore(
  layout: SiteLayout,
  journal: Journal | undefined,
): Promise<CertificateFiles> {
  const set = journal?.certificatesBefore;
  return await readCertificates(set === undefined ? layout : layout.certificateSet(set));
}

/** The current release is served again, or what was there before drydock; else nothing. @throws DrydockError "host" */
export async function putBackContainer(engine: Engine, layout: SiteLayout): Promise<void> {
  const current = await currentRelease(layout);
  if (current !== undefined) await serveCurrent(engine, layout, current);
  else {
    await removeContainers(engine, layout);
    const adopted = (await readAdopted(layout))?.container;
    if (adopted !== undefined) await restoreAdopted(engine, adopted);
  }
}

/**
 * Puts back what was interrupted, unless it is the very action that goes on now. The blobs stay.
 * @returns what moved
 */
export async function putOthersBack(
  engine: Engine,
  layout: SiteLayout,
  action: Pick<Change, "action" | "bundleDigest">,
  reporter: Reporter,
): Promise<Omit<PutBack, "certificates">> {
  const journal = await readInterrupted(layout);
  if (journal === undefined || isSame(journal, action)) return { moved: 0, removed: 0 };
  const done = await runStep(
    reporter,
    `put back ${nameOf(journal)}`,
    () => putBackState(layout, journal),
    ({ moved, removed }) => `${moved + removed} tags`,
  );
  // What is about to be served may be what mends it.
  await putBackContainer(engine, layout).catch((error: unknown) =>
    reporter.warn(`the registry from before does not serve: ${errorText(error)}`),
  );
  await removeJournal(layout);
  await removeUnusedCertificates(layout, journal);
  return done;
}

function isSame(
  journal: Journal,
  { action, bundleDigest }: Pick<Change, "action" | "bundleDigest">,
): boolean {
  return journal.action === action && journal.bundleDigest === bundleDigest;
}
