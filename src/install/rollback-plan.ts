/** Where a rollback goes, and whether it can: known before anything changes. */
import { connectEngine, type Engine } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import { type Journal, readInterrupted } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { currentRelease, listReleases, type ReleaseRecord } from "../site/record.ts";
import type { FileValue } from "./files.ts";
import { filesAtEnd, findRelease, listed, releaseBefore, tagsAtEnd, type Way, wayTo } from "./history.ts";
import { checkContainer, checkPort } from "./preflight-host.ts";
import { type CertificateReturn, planReturn } from "./rollback-certificates.ts";
import { checkStored } from "./stored.ts";
import { type TagValue, valuesBack } from "./tags.ts";

/** What is at the site, and where it goes. */
export interface RollbackPlan {
  layout: SiteLayout;
  engine: Engine;
  current: ReleaseRecord | undefined;
  interrupted: Journal | undefined;
  target: ReleaseRecord | undefined;
  way: Way;
  /** what the tags will name that the way touches, and what files/ will show */
  tags: TagValue[];
  files: FileValue[];
}

/** @param named as the user says it @throws DrydockError "input" if there is no such release, or none before */
export async function planRollback(layout: SiteLayout, named: string | undefined): Promise<RollbackPlan> {
  const records = await listReleases(layout);
  const served = await currentRelease(layout);
  const current = records.find(({ bundleDigest }) => bundleDigest === served?.bundleDigest);
  const interrupted = await readInterrupted(layout);
  const target = chooseTarget(layout, records, current, interrupted, named);
  const way = current && target ? wayTo(target, current, records) : { undone: [], redone: [] };
  const [tags, files] = [tagsAtEnd(way), filesAtEnd(way)];
  return { layout, engine: connectEngine(), current, interrupted, target, way, tags, files };
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

/** Everything that can be known before the first tag moves. @throws DrydockError "preflight" if something of it is missing */
export async function checkRollback(target: ReleaseRecord, plan: RollbackPlan): Promise<CertificateReturn> {
  const { layout, engine, interrupted, tags, files } = plan;
  await engine.describe();
  const back = interrupted === undefined ? [] : valuesBack(interrupted);
  await checkStored(layout, target, [...back, ...tags], files);
  const { port } = target.settings;
  const findings = await checkContainer(engine, layout);
  findings.push(...(await checkPort(engine, layout, port)));
  const error = findings.find(({ level }) => level === "error");
  if (error !== undefined)
    throw new DrydockError("preflight", `${error.check}: ${error.text}`, { hint: error.hint });
  return await planReturn(layout, target, new Date());
}
