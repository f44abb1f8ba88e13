/**
 * `drydock rollback`: the site serves another of its releases, out of what is there. All that can be known
 * is looked at before the first tag moves; the journal says what is under way; each step can be repeated. If it
 * fails, all is put back. An install that was interrupted is undone in the same way.
 */
import { readFile } from "node:fs/promises";
import { takeLock } from "../lock.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type Journal, removeJournal } from "../site/journal.ts";
import { keepCertificates, showCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { completeAction, findSite, type ReleaseRecord } from "../site/record.ts";
import { freeReserve } from "../site/reserve.ts";
import { beginChange, putBackState, putOthersBack } from "./change.ts";
import { removeContainers } from "./containers.ts";
import { setFiles } from "./files.ts";
import { giveBack, toGiveBack } from "./give-back.ts";
import { removeUnusedCertificates, removeUnusedFiles } from "./kept.ts";
import { removeLeftovers } from "./leftovers.ts";
import { type Proof, prove } from "./prove.ts";
import { refreshLastProof } from "./receipt.ts";
import type { CertificateReturn } from "./rollback-certificates.ts";
import { checkRollback, planRollback, type RollbackPlan } from "./rollback-plan.ts";
import type { RunResult } from "./run.ts";
import { certificatesInEffect, serveCurrent, serveRelease } from "./serve.ts";
import { readTagsNow, setTags, tagList } from "./tags.ts";
import { undone } from "./undo.ts";

export interface RollbackOptions {
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** a release's number or name, or its digest's first digits; the one before the current one if left out */
  release?: string;
}

export interface ReleaseName {
  name: string;
  release: number;
  /** the bundle's, 64 digits */
  digest: string;
}

export interface RollbackResult {
  /** the site's directory */
  site: string;
  /** what was current, or was being installed */
  from: ReleaseName;
  /** what is served now; absent if the site's first install was undone, or what was there given back */
  to?: ReleaseName;
  /** whether it was an interrupted install that was undone */
  interrupted: boolean;
  addresses: string[];
  port: number | undefined;
  tagsMoved: number;
  tagsRemoved: number;
  certificates: CertificateReturn["action"];
  /** what was done to the registry's container, if anything */
  container?: string;
  proof?: Proof;
  /** present if what was here before drydock was given back: its container, if it had one */
  givenBack?: { container?: string; running?: boolean };
  warnings: string[];
}

/**
 * @throws DrydockError "input" (no such release, or none before), "preflight" (something of it is missing,
 *   the engine doesn't answer; nothing was changed), "host" (this host failed midway: run it again).
 */
export async function rollback(options: RollbackOptions, reporter: Reporter): Promise<RollbackResult> {
  const layout = await findSite(options.site);
  const lock = await takeLock("site", layout.root);
  try {
    const adopted = await toGiveBack(layout, options.release);
    if (adopted !== undefined) return await giveBack(layout, adopted, reporter);
    const plan = await planRollback(layout, options.release);
    const { target, current, interrupted } = plan;
    if (target === undefined) return await undoFirst(plan, reporter);
    const isBack = target === current && interrupted !== undefined;
    return isBack ? await backTo(target, interrupted, plan, reporter) : await goTo(target, plan, reporter);
  } finally {
    await lock.release();
  }
}

async function goTo(target: ReleaseRecord, plan: RollbackPlan, reporter: Reporter): Promise<RollbackResult> {
  const { layout, engine, interrupted, tags, files, way } = plan;
  const returning = await runStep(reporter, "check", () => checkRollback(target, plan));
  for (const warning of returning.warnings) reporter.warn(warning);
  await removeLeftovers(layout);
  const { bundleDigest, name, release } = target;
  const back = await putOthersBack(engine, layout, { action: "rollback", bundleDigest }, reporter);
  const certificates = await keepCertificates(layout, returning.files);
  const change = { action: "rollback", bundleDigest, name, release, tags, files, certificates } as const;
  const again = `drydock rollback ${hexOf(bundleDigest).slice(0, 12)}`;
  const journal = await beginChange(layout, { ...change, command: again });
  let run: RunResult | undefined;
  try {
    const done = await runStep(
      reporter,
      "tags",
      async () => {
        const moved = await setTags(tags, layout);
        await setFiles(files, layout);
        return { moved: back.moved + moved.moved, removed: back.removed + moved.removed };
      },
      ({ moved, removed }) => `${moved} moved, ${removed} removed`,
    );
    run = await runStep(
      reporter,
      "run",
      () => serveRelease(engine, layout, target, certificates),
      ({ why }) => why ?? "unchanged",
    );
    const proof = await proveRelease(target, certificates, plan, reporter);
    await run.settle();
    await freeReserve(layout);
    await showCertificates(returning.files, layout);
    await completeAction(layout, {
      ...{ current: bundleDigest, certificates, begunAt: journal.begunAt },
      undone: way.undone.map((one) => one.bundleDigest),
      redone: way.redone.map((one) => one.bundleDigest),
    });
    await run.dismissOld();
    await tidyUp(target, proof, layout);
    return {
      ...{ site: layout.root, from: fromOf(plan), to: shortOf(target) },
      interrupted: interrupted?.action === "install",
      ...{ addresses: target.settings.addresses, port: target.settings.port },
      ...{ tagsMoved: done.moved, tagsRemoved: done.removed, certificates: returning.action },
      ...(run.why === undefined ? {} : { container: run.why }),
      ...{ proof, warnings: returning.warnings },
    };
  } catch (error) {
    throw await undone(error, { engine, layout, journal, registry: run, again });
  }
}

/** Undoes what was interrupted, over the release that is current. Its journal stands until that one serves again. */
async function backTo(
  current: ReleaseRecord,
  interrupted: Journal,
  plan: RollbackPlan,
  reporter: Reporter,
): Promise<RollbackResult> {
  const { layout, engine } = plan;
  const { warnings } = await runStep(reporter, "check", () => checkRollback(current, plan));
  for (const warning of warnings) reporter.warn(warning);
  await removeLeftovers(layout);
  const done = await runStep(
    reporter,
    "tags",
    () => putBackState(layout, interrupted),
    ({ moved, removed }) => `${moved} moved, ${removed} removed`,
  );
  const run = await runStep(
    reporter,
    "run",
    () => serveCurrent(engine, layout, current),
    ({ why }) => why ?? "unchanged",
  );
  const proof = await proveRelease(current, await certificatesInEffect(layout), plan, reporter);
  await tidyUp(current, proof, layout, interrupted);
  return {
    ...{ site: layout.root, from: fromOf(plan), to: shortOf(current) },
    interrupted: interrupted.action === "install",
    ...{ addresses: current.settings.addresses, port: current.settings.port },
    ...{ tagsMoved: done.moved, tagsRemoved: done.removed },
    certificates: done.certificates ? "put back" : "unchanged",
    ...(run.why === undefined ? {} : { container: run.why }),
    ...{ proof, warnings },
  };
}

/** The release's tags with their values of now: a client may have pushed to one since. And all that moved. */
async function proveRelease(
  { tagsAfter, settings }: ReleaseRecord,
  certificates: Digest,
  { layout, tags: moved }: RollbackPlan,
  reporter: Reporter,
): Promise<Proof> {
  const tags = await readTagsNow([...tagList(tagsAfter), ...moved], layout);
  const repositories = Object.fromEntries(
    Object.entries(tags).map(([name, named]) => [name, { tags: named, revisions: [], layers: [] }]),
  );
  const { addresses, port } = settings;
  const ca = await readFile(layout.certificateSet(certificates).caCertificate);
  return await prove({ ca, addresses, port, repositories }, reporter);
}

/** Nothing is under way any more. */
async function tidyUp(
  { bundleDigest }: ReleaseRecord,
  proof: Proof,
  layout: SiteLayout,
  putBack?: Journal,
): Promise<void> {
  await removeJournal(layout);
  await removeUnusedCertificates(layout, putBack);
  await removeUnusedFiles(layout);
  await refreshLastProof(layout, bundleDigest, proof);
}

/** Undoes the site's first install, which was interrupted: there is nothing that could be served then. */
async function undoFirst(plan: RollbackPlan, reporter: Reporter): Promise<RollbackResult> {
  const { layout, engine, interrupted } = plan;
  if (interrupted === undefined) throw new Error("nothing to undo");
  await runStep(reporter, "check", () => engine.describe());
  const container = await runStep(reporter, "container", () => removeContainers(engine, layout));
  await removeLeftovers(layout);
  const tags = await runStep(reporter, "tags", () => putBackState(layout, interrupted));
  await removeJournal(layout);
  await removeUnusedCertificates(layout, interrupted);
  return {
    site: layout.root,
    from: fromOf(plan),
    ...{ interrupted: true, addresses: [], port: undefined },
    ...{ tagsMoved: tags.moved, tagsRemoved: tags.removed, certificates: "unchanged" },
    ...(container.length === 0 ? {} : { container: "removed" }),
    warnings: [],
  };
}

function fromOf({ current, interrupted }: RollbackPlan): ReleaseName {
  const from = interrupted?.action === "install" ? interrupted : current;
  if (from === undefined) throw new Error("neither a release nor an install");
  return shortOf(from);
}

function shortOf(one: { name: string; release: number; bundleDigest: Digest }): ReleaseName {
  return { name: one.name, release: one.release, digest: hexOf(one.bundleDigest) };
}
