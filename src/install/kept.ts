/**
 * What the site keeps of certificates and files, so that each release, and what was before an action, can be
 * served again. What neither a release nor the journal uses goes.
 */
import type { Digest } from "../oci/digest.ts";
import { type Journal, readJournal } from "../site/journal.ts";
import { removeOtherCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import { listReleases, type ReleaseRecord } from "../site/record.ts";
import { removeOtherFiles } from "./files.ts";

/** @param undone the journal of what was put back @throws DrydockError "host" */
export async function removeUnusedCertificates(layout: SiteLayout, undone?: Journal): Promise<void> {
  const { certificates, releases } = await readMarker(layout);
  // What an earlier drydock has put up does not say what is served.
  if (releases === undefined) return;
  const journal = await readJournal(layout);
  const used = [
    ...[certificates, journal?.certificatesBefore, journal?.certificatesAfter],
    ...(await listReleases(layout)).map((record) => record.certificates),
  ];
  const keep = new Set(used.filter((one) => one !== undefined));
  await removeOtherCertificates(layout, keep, undone?.certificatesAfter);
}

/** Not before an action is complete: one that was cut short goes on with what it has placed. @throws DrydockError "host" */
export async function removeUnusedFiles(layout: SiteLayout): Promise<void> {
  const journal = await readJournal(layout);
  const records = await listReleases(layout);
  await removeOtherFiles(layout, usedFiles(journal === undefined ? records : [...records, journal]));
}

/** What they show in files/, and what those names showed before. */
export function usedFiles(
  records: readonly Pick<ReleaseRecord, "filesBefore" | "filesAfter">[],
): Set<Digest> {
  return new Set(
    records.flatMap(({ filesBefore = {}, filesAfter = {} }): Digest[] => [
      ...Object.values(filesBefore),
      ...Object.values(filesAfter),
    ]),
  );
}
