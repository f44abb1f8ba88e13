/**
 * `drydock rollback`: the site serves another of its releases, out of what is there. All that can be known
 * is looked at before the first tag moves; the journal says what is under way; each step can be repeated.
 */
import { readFile } from "node:fs/promises";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type Journal, readInterrupted, removeJournal, writeJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import {
  currentRelease,
  findSite,
  listReleases,
  type ReleaseRecord,
  setCurrent,
  writeRelease,
} from "../site/record.ts";
import { putBackTags } from "./begin.ts";
import { removeContainers } from "./containers.ts";
import { giveBack, toGiveBack } from "./give-back.ts";
import { findRelease, listed, releaseBefore, tagsAtEnd, type Way, wayTo } from "./history.ts";
import { removeLeftovers } from "./leftovers.ts";
import { checkContainer, checkPort } from "./preflight-host.ts";
import { type Proof, prove } from "./prove.ts";
import { refreshLastProof } from "./receipt.ts";
import { type CertificateReturn, planReturn, returnCertificates } from "./rollback-certificates.ts";
import { serveRelease } from "./serve.ts";
import { checkStored } from "./stored.ts";
import { readTagsNow, setTags, type TagValue, tagList, tagTable } from "./tags.ts";

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

/** What is at the site, and where it goes. */
interface Plan {
  layout: SiteLayout;
  engine: Engine;
  current: ReleaseRecord | undefined;
  interrupted: Journal | undefined;
  target: ReleaseRecord | undefined;
  way: Way;
  /** what the tags will name that the way touches */
  wanted: TagValue[];
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
    return plan.target === undefined
      ? await undoFirst(plan, reporter)
      : await goTo(plan.target, plan, reporter);
  } finally {
    await lock.release();
  }
}

async function planRollback(layout: SiteLayout, named: string | undefined): Promise<Plan> {
  const records = await listReleases(layout);
  const served = await currentRelease(layout);
  const current = records.find(({ bundleDigest }) => bundleDigest === served?.bundleDigest);
  const interrupted = await readInterrupted(layout);
  const target = chooseTarget(layout, records, current, interrupted, named);
  const way = current && target ? wayTo(target, current, records) : { undone: [], redone: [] };
  return { layout, engine: connectEngine(), current, interrupted, target, way, wanted: tagsAtEnd(way) };
}

/** @returns undefined: the site's first install was interrupted, and is undone */
function chooseTarget(
  layout: SiteLayout,
  records: ReleaseRecord[],
  current: ReleaseRecord | undefined,
  interrupted: Journal | undefined,
  named: string | undefined,
): ReleaseRecord | undefined {
  if (current === undefined && (interrupted === undefined || named !== undefined)) {
    throw new DrydockError("input", `go back at site ${JSON.stringify(layout.root)}: no release is served`, {
      hint:
        interrupted === undefined
          ? "Install a bundle first, or name the site's directory with --site."
          : "Its first install was interrupted: run it again, or `drydock rollback` to undo it.",
    });
  }
  if (named !== undefined) return findRelease(named, records, current);
  if (interrupted?.action === "rollback")
    return records.find(({ bundleDigest }) => bundleDigest === interrupted.bundleDigest) ?? current;
  if (interrupted !== undefined || current === undefined) return current;
  const before = releaseBefore(current, records);
  if (before !== undefined) return before;
  throw new DrydockError("input", `go back: there is no release before it:\n${listed(records, current)}`, {
    hint: records.length > 1 ? "Name another one to go to it." : undefined,
  });
}

async function goTo(target: ReleaseRecord, plan: Plan, reporter: Reporter): Promise<RollbackResult> {
  const { layout, engine, interrupted, wanted } = plan;
  const certificates = await runStep(reporter, "check", () => check(target, plan));
  for (const warning of certificates.warnings) reporter.warn(warning);
  await removeLeftovers(layout);
  const tags = await runStep(
    reporter,
    "tags",
    () => moveTags(target, plan),
    ({ moved, removed }) => `${moved} moved, ${removed} removed`,
  );
  await returnCertificates(certificates, layout, target);
  const run = await runStep(
    reporter,
    "run",
    () => serveRelease(engine, layout, target),
    ({ why }) => why ?? "unchanged",
  );
  const { addresses, port } = target.settings;
  const repositories = await toProve(layout, target, wanted);
  const ca = await readFile(layout.caCertificate);
  const proof = await prove({ ca, addresses, port, repositories }, reporter);
  await remember(target, plan);
  await refreshLastProof(layout, target.bundleDigest, proof);
  return {
    site: layout.root,
    from: fromOf(plan),
    to: shortOf(target),
    interrupted: interrupted?.action === "install",
    ...{ addresses, port, tagsMoved: tags.moved, tagsRemoved: tags.removed },
    certificates: certificates.action,
    ...(run.why === undefined ? {} : { container: run.why }),
    ...{ proof, warnings: certificates.warnings },
  };
}

/** Everything that can be known before the first tag moves. */
async function check(target: ReleaseRecord, plan: Plan): Promise<CertificateReturn> {
  const { layout, engine, current, interrupted, wanted } = plan;
  await engine.describe();
  const back = interrupted === undefined ? [] : tagList(interrupted.tagsBefore);
  await checkStored(layout, target, [...back, ...wanted]);
  const { port } = target.settings;
  const findings = await checkContainer(engine, layout);
  if (port !== current?.settings.port) findings.push(...(await checkPort(engine, layout, port, () => "")));
  const error = findings.find(({ level }) => level === "error");
  if (error !== undefined) {
    const hint = error.check === "port" ? "Stop what listens there, then try again." : error.hint;
    throw new DrydockError("preflight", `${error.check}: ${error.text}`, { hint });
  }
  return await planReturn(layout, target, new Date());
}

/** First what was interrupted is put back, unless it was on its way to this very release. */
async function moveTags(target: ReleaseRecord, plan: Plan): Promise<{ moved: number; removed: number }> {
  const { layout, current, interrupted, wanted } = plan;
  const goesOn = interrupted?.action === "rollback" && interrupted.bundleDigest === target.bundleDigest;
  const back =
    interrupted === undefined || goesOn ? { moved: 0, removed: 0 } : await putBackTags(interrupted, layout);
  // Back at the current release, the old journal stands until that one serves again.
  if (target === current) return back;
  if (!goesOn) await writeJournal(layout, await journalOf(target, wanted, layout));
  const done = await setTags(wanted, layout);
  return { moved: back.moved + done.moved, removed: back.removed + done.removed };
}

async function journalOf(target: ReleaseRecord, wanted: TagValue[], layout: SiteLayout): Promise<Journal> {
  const { bundleDigest, name, release } = target;
  return {
    action: "rollback",
    ...{ bundleDigest, name, release },
    begunAt: new Date().toISOString(),
    tagsBefore: await readTagsNow(wanted, layout),
    tagsAfter: tagTable(wanted),
  };
}

/** The release's tags with their values of now: a client may have pushed to one since. And all that moved. */
async function toProve(layout: SiteLayout, target: ReleaseRecord, wanted: TagValue[]) {
  const tags = await readTagsNow([...tagList(target.tagsAfter), ...wanted], layout);
  return Object.fromEntries(
    Object.entries(tags).map(([name, named]) => [name, { tags: named, revisions: [], layers: [] }]),
  );
}

/** Which are undone and which are in effect; then which one is current; then that nothing is under way. */
async function remember(target: ReleaseRecord, { layout, way }: Plan): Promise<void> {
  const rolledBackAt = new Date().toISOString();
  for (const record of way.undone) await writeRelease(layout, { ...record, rolledBackAt });
  for (const record of [...way.redone, target]) {
    const { rolledBackAt: undone, ...rest } = record;
    if (undone !== undefined) await writeRelease(layout, rest);
  }
  await setCurrent(layout, target.bundleDigest);
  await removeJournal(layout);
}

/** Undoes the site's first install, which was interrupted: there is nothing that could be served then. */
async function undoFirst(plan: Plan, reporter: Reporter): Promise<RollbackResult> {
  const { layout, engine, interrupted } = plan;
  if (interrupted === undefined) throw new Error("nothing to undo");
  await runStep(reporter, "check", () => engine.describe());
  const container = await runStep(reporter, "container", () => removeContainers(engine, layout));
  await removeLeftovers(layout);
  const tags = await runStep(reporter, "tags", () => putBackTags(interrupted, layout));
  await removeJournal(layout);
  return {
    site: layout.root,
    from: fromOf(plan),
    ...{ interrupted: true, addresses: [], port: undefined },
    ...{ tagsMoved: tags.moved, tagsRemoved: tags.removed, certificates: "unchanged" },
    ...(container.length === 0 ? {} : { container: "removed" }),
    warnings: [],
  };
}

function fromOf({ current, interrupted }: Plan): ReleaseName {
  const from = interrupted?.action === "install" ? interrupted : current;
  if (from === undefined) throw new Error("neither a release nor an install");
  return shortOf(from);
}

function shortOf(one: { name: string; release: number; bundleDigest: Digest }): ReleaseName {
  return { name: one.name, release: one.release, digest: hexOf(one.bundleDigest) };
}
