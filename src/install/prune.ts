/**
 * `drydock prune`, and the last step of `install --prune`: what no kept release uses is removed, and the rest
 * serves on. The registry stands still meanwhile: one that runs goes on serving what it has seen before, and a
 * push might just have begun to use what is being removed.
 *
 * Whenever it is cut short, what is left can be served: a release leaves the history first, then its tags go,
 * then what nothing names any more, in the order in which one thing leads to the next. The next prune finds
 * the rest and completes it.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { stopContainer } from "../engine/container.ts";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { DrydockError, errorText } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { hexOf } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { readInterruptedPrune, removeJournal, writeJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { takeOutOfHistory } from "../site/pruned.ts";
import { currentRelease, findSite, type ReleaseRecord, writeRelease } from "../site/record.ts";
import { setFiles } from "./files.ts";
import { removeUnusedCertificates, removeUnusedFiles } from "./kept.ts";
import { type Proof, prove } from "./prove.ts";
import { checkJournal, checkUse, ourContainers } from "./prune-check.ts";
import { nameOfTag } from "./prune-history.ts";
import { isNothing, type PrunePlan, planPrune } from "./prune-plan.ts";
import { removeBlobs, removeFolders, removeLinks, removeRegistryImages } from "./prune-remove.ts";
import { refreshLastProof } from "./receipt.ts";
import { certificatesInEffect, serveCurrent } from "./serve.ts";
import { readTagsNow, setTags, tagList } from "./tags.ts";

export interface PruneOptions {
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** how many releases stay: the current one and those before it; at least 1, 2 if left out */
  keep?: number;
  /** only look */
  dryRun?: boolean;
}

export interface PrunedRelease {
  name: string;
  release: number;
  /** the bundle's, 64 digits */
  digest: string;
}

export interface PruneResult {
  /** the site's directory */
  site: string;
  /** what went; of a dry run, what would go */
  removed: {
    /** the oldest first */
    releases: PrunedRelease[];
    /** `repository:tag` */
    tags: string[];
    /** from the storage */
    blobs: number;
    /** that are free again: blobs, releases' folders and files */
    bytes: number;
    /** of `files:`, absolute */
    files: string[];
  };
  /** tags that name again what they named before any release that is known set them */
  putBack: string[];
  /** the current one first */
  kept: PrunedRelease[];
  dryRun: boolean;
  /** absent if nothing was done */
  proof?: Proof;
}

/** As many releases stay if nobody says otherwise: the current one, and the one to go back to. */
export const defaultKeep = 2;

/**
 * @throws DrydockError "input" (no release is served), "preflight" (an install was cut short, another
 *   container uses the storage, the engine doesn't answer; nothing was changed), "integrity" (a bundle index
 *   that is needed is damaged), "host" (this host failed midway; the registry is started again).
 */
export async function prune(options: PruneOptions, reporter: Reporter): Promise<PruneResult> {
  const layout = await findSite(options.site);
  const lock = await takeLock("site", layout.root);
  try {
    return await pruneSite(layout, options, reporter);
  } finally {
    await lock.release();
  }
}

/** The same for whoever holds the site's lock. */
export async function pruneSite(
  layout: SiteLayout,
  { keep = defaultKeep, dryRun = false }: PruneOptions,
  reporter: Reporter,
): Promise<PruneResult> {
  const engine = connectEngine();
  const current = await currentRelease(layout);
  if (current === undefined) {
    throw new DrydockError("input", `prune site ${JSON.stringify(layout.root)}: no release is served`, {
      hint: "Install a bundle first, or name the site's directory with --site.",
    });
  }
  const plan = await runStep(reporter, "prune plan", async () => {
    await checkJournal(layout);
    if (!dryRun) await checkUse(engine, layout);
    return await planPrune(layout, current, keep);
  });
  const goesOn = (await readInterruptedPrune(layout)) !== undefined;
  if (dryRun || (isNothing(plan) && !goesOn)) return resultOf(layout, plan, dryRun);

  const { bundleDigest, name, release } = current;
  const begunAt = new Date().toISOString();
  await writeJournal(layout, {
    ...{ action: "prune", bundleDigest, name, release, begunAt, tagsBefore: {}, tagsAfter: {} },
  });
  const done = await standingStill(engine, layout, current, reporter, async () => {
    // Once more: until now a client may have pushed.
    const last = await planPrune(layout, current, keep);
    await carryOut(engine, layout, last, reporter);
    return last;
  });
  const proof = await proveKept(layout, current, done.kept, reporter);
  await removeJournal(layout);
  await refreshLastProof(layout, bundleDigest, proof);
  return { ...resultOf(layout, done, dryRun), proof };
}

/** Does the work while the registry stands still, and starts it again, however the work ends. */
async function standingStill<T>(
  engine: Engine,
  layout: SiteLayout,
  current: ReleaseRecord,
  reporter: Reporter,
  work: () => Promise<T>,
): Promise<T> {
  const stop = async () => {
    for (const name of await ourContainers(engine, layout)) await stopContainer(engine, name);
  };
  const start = async () => {
    // An engine that was restarted meanwhile has started it, too: it must not go on with what it saw.
    await stop();
    return await serveCurrent(engine, layout, current);
  };
  let result: T;
  try {
    await runStep(reporter, "stop registry", stop);
    result = await work();
  } catch (error) {
    await start().catch((failure: unknown) =>
      reporter.warn(`the registry could not be started again: ${errorText(failure)}`),
    );
    throw error;
  }
  await runStep(reporter, "run", start, ({ why }) => why ?? "unchanged");
  return result;
}

async function carryOut(
  engine: Engine,
  layout: SiteLayout,
  { rewritten, releases, tags, storage, folders, files, registryImages }: PrunePlan,
  reporter: Reporter,
): Promise<void> {
  await runStep(reporter, "prune history", async () => {
    for (const record of rewritten) await writeRelease(layout, record);
    for (const { bundleDigest } of releases) await takeOutOfHistory(layout, bundleDigest);
  });
  await runStep(reporter, "prune tags", () => setTags(tags, layout));
  await runStep(
    reporter,
    "prune images",
    () => removeLinks(layout, storage),
    () => `${storage.revisions.length} image manifests`,
  );
  await runStep(
    reporter,
    "prune blobs",
    (step) => removeBlobs(storage.blobs, step),
    () => `${storage.blobs.size} blobs`,
  );
  await runStep(reporter, "prune releases", async () => {
    await setFiles(files, layout);
    await removeFolders(layout, folders);
    await removeUnusedFiles(layout);
    await removeUnusedCertificates(layout);
    await removeRegistryImages(engine, registryImages);
  });
}

/** Their tags with what they name now: a client may have pushed to one. */
async function proveKept(
  layout: SiteLayout,
  { settings }: ReleaseRecord,
  kept: readonly ReleaseRecord[],
  reporter: Reporter,
): Promise<Proof> {
  const tags = await readTagsNow(
    new Map(kept.flatMap(({ tagsAfter }) => tagList(tagsAfter)).map((one) => [nameOfTag(one), one])).values(),
    layout,
  );
  const repositories = Object.fromEntries(
    Object.entries(tags).map(([name, named]) => [name, { tags: named, revisions: [], layers: [] }]),
  );
  const { addresses, port } = settings;
  const { caCertificate } = layout.certificateSet(await certificatesInEffect(layout));
  return await prove({ ca: await readFile(caCertificate), addresses, port, repositories }, reporter);
}

function resultOf(
  layout: SiteLayout,
  { releases, earlier, tags, storage, files, bytes, kept }: PrunePlan,
  dryRun: boolean,
): PruneResult {
  return {
    site: layout.root,
    removed: {
      releases: [...earlier, ...releases].map(shortOf),
      tags: tags
        .filter(({ digest }) => digest === undefined)
        .map(nameOfTag)
        .sort(),
      blobs: storage.blobs.size,
      bytes,
      files: files.flatMap(({ name, digest }) => (digest === undefined ? [join(layout.files, name)] : [])),
    },
    putBack: tags
      .filter(({ digest }) => digest !== undefined)
      .map(nameOfTag)
      .sort(),
    kept: kept.map(shortOf),
    dryRun,
  };
}

function shortOf({ name, release, bundleDigest }: ReleaseRecord): PrunedRelease {
  return { name, release, digest: hexOf(bundleDigest) };
}
