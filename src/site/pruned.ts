/**
 * What stands in releases/ and is no complete release: what an install left that never came to its end, and
 * what a prune has taken out of the history but not yet removed. The latter keeps its record under another
 * name, so that a prune that was cut short can be completed.
 */
import { rename } from "node:fs/promises";
import type { Digest } from "../oci/digest.ts";
import { cannotWrite, syncFolder } from "./durable.ts";
import type { SiteLayout } from "./layout.ts";
import { listReleaseFolders, type ReleaseRecord, readPruned, readRelease } from "./record.ts";

export interface Remains {
  bundleDigest: Digest;
  /** absent if it was never installed completely */
  record?: ReleaseRecord;
}

/** @throws DrydockError "host" if a record cannot be read. */
export async function listRemains(layout: SiteLayout): Promise<Remains[]> {
  const found = await Promise.all(
    (await listReleaseFolders(layout)).map(async (bundleDigest): Promise<Remains[]> => {
      if ((await readRelease(layout, bundleDigest)) !== undefined) return [];
      const record = await readPruned(layout, bundleDigest);
      return [{ bundleDigest, ...(record === undefined ? {} : { record }) }];
    }),
  );
  return found.flat();
}

/** From now on it is no release any more; durable when this returns. @throws DrydockError "host" */
export async function takeOutOfHistory(layout: SiteLayout, bundleDigest: Digest): Promise<void> {
  const { folder, record, prunedRecord } = layout.release(bundleDigest);
  try {
    await rename(record, prunedRecord);
    await syncFolder(folder);
  } catch (error) {
    throw cannotWrite(prunedRecord, error);
  }
}
