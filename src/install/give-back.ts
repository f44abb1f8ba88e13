/**
 * Giving back a registry that was taken over: tags, certificates and container as they were, and nothing of
 * drydock's left at the site but the content that it brought, which no tag names any more. All that can be
 * known is looked at first; what is under way stands in the record, and each step can be repeated.
 */
import { rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { inspectContainer, lastOutput } from "../engine/container.ts";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { DrydockError, errorCode } from "../errors.ts";
import { hexOf } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import {
  type AdoptedContainer,
  type AdoptedRecord,
  forgetAdopted,
  readAdopted,
  writeAdopted,
} from "../site/adopted.ts";
import { cannotWrite, syncFolder } from "../site/durable.ts";
import { type Journal, readInterrupted, readJournal } from "../site/journal.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import { readCertificates, showCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { leaveData } from "../site/marker.ts";
import { currentRelease, forgetSite, listReleases, type ReleaseRecord } from "../site/record.ts";
import { restoreAdopted } from "./adopted-container.ts";
import { removeContainers } from "./containers.ts";
import { asFiles, type FileValue, filesAsTags, setFiles } from "./files.ts";
import { releaseBefore, tagsAtEnd } from "./history.ts";
import { checkPort } from "./preflight-host.ts";
import { tryWays } from "./prove.ts";
import { containerName, isOurs } from "./registry-container.ts";
import { removeTree } from "./remove-tree.ts";
import type { ReleaseName, RollbackResult } from "./rollback.ts";
import { checkTagsStored } from "./stored.ts";
import { setTags, type TagValue, tagList, tagTable, valuesOf } from "./tags.ts";

/** How long a registry that is given back may take until it answers. */
const patienceSeconds = 30;

/**
 * Whether going back means to give back: there is nothing of drydock's before what is served now, or nothing
 * was ever served. @param named the release that the user wants, if one was said
 */
export async function toGiveBack(
  layout: SiteLayout,
  named: string | undefined,
): Promise<AdoptedRecord | undefined> {
  const adopted = await readAdopted(layout);
  if (adopted === undefined) return undefined;
  if (adopted.returningSince !== undefined) {
    if (named === undefined) return adopted;
    throw new DrydockError("input", `go to ${JSON.stringify(named)}: giving back what was here was begun`, {
      hint: "Complete that: `drydock rollback`",
    });
  }
  const current = await currentRelease(layout);
  if (named !== undefined) return undefined;
  if (current === undefined) return adopted;
  if ((await readInterrupted(layout)) !== undefined) return undefined;
  return releaseBefore(current, await listReleases(layout)) === undefined ? adopted : undefined;
}

/** @throws DrydockError "preflight" (nothing was changed), "host" (this host failed midway: run it again). */
export async function giveBack(
  layout: SiteLayout,
  adopted: AdoptedRecord,
  reporter: Reporter,
): Promise<RollbackResult> {
  const engine = connectEngine();
  const from = await leaving(layout);
  const wanted = await tagsToReturn(layout, adopted);
  await runStep(reporter, "check", () => check(engine, layout, adopted, wanted));
  const { container } = adopted;
  await writeAdopted(layout, {
    ...adopted,
    returningSince: adopted.returningSince ?? new Date().toISOString(),
  });
  const tags = await runStep(
    reporter,
    "tags",
    () => setTags(wanted, layout),
    ({ moved, removed }) => `${moved} moved, ${removed} removed`,
  );
  await setFiles(await filesToReturn(layout), layout);
  const differed = await showCertificates(await readCertificates(layout.adopted), layout);
  await runStep(reporter, "container", async () => {
    await removeContainers(engine, layout);
    if (container !== undefined) await bringBack(engine, layout, container);
  });
  await runStep(reporter, "records", () => removeRecords(layout, adopted));
  return {
    site: layout.root,
    from,
    ...{ interrupted: false, addresses: [], port: container?.port },
    ...{ tagsMoved: tags.moved, tagsRemoved: tags.removed },
    certificates: differed ? "put back" : "unchanged",
    givenBack: container === undefined ? {} : { container: containerName, running: container.running },
    warnings: [],
  };
}

/** The container with its name, and answering if it ran. @throws DrydockError "host" */
export async function bringBack(
  engine: Engine,
  layout: SiteLayout,
  container: AdoptedContainer,
): Promise<void> {
  if (!(await restoreAdopted(engine, container))) throw gone(container);
  const { running, port, certificate } = container;
  if (!running || port === undefined || certificate === undefined) return;
  const ca = await readBytesIfThere(layout.caCertificate);
  if (ca === undefined) return;
  const way = { connect: "127.0.0.1", as: "127.0.0.1" };
  const [tried] = await tryWays({ ca, port, checkName: false }, [way], patienceSeconds);
  // That a certificate has ended, say, is as it was: it answers.
  if (tried?.error === undefined || /CERT|TLS|SIGNATURE|ISSUER/.test(errorCode(tried.error) ?? "")) return;
  const output = await lastOutput(engine, container.id);
  throw new DrydockError(
    "host",
    `start container "${containerName}" again: no answer on port ${port}\n${output}`,
    {
      hint: `docker logs ${containerName} shows all its output. When that is mended, run the same command again.`,
      cause: tried.error,
    },
  );
}

async function check(
  engine: Engine,
  layout: SiteLayout,
  { container }: AdoptedRecord,
  wanted: readonly TagValue[],
): Promise<void> {
  await engine.describe();
  await checkTagsStored(layout, wanted);
  if (container === undefined) return;
  if ((await inspectContainer(engine, container.id)) === undefined) throw gone(container);
  const named = await inspectContainer(engine, containerName);
  if (named !== undefined && named.Id !== container.id && !isOurs(named, layout)) {
    throw new DrydockError("preflight", `container "${containerName}" is there and is not of this site`, {
      hint: `Rename or remove it (docker rename ${containerName} …), then run the same command again.`,
    });
  }
  if (!container.running || container.port === undefined) return;
  const [port] = await checkPort(engine, layout, container.port, undefined, container.id);
  if (port?.level === "error") throw new DrydockError("preflight", `port: ${port.text}`, { hint: port.hint });
}

function gone({ id, image }: AdoptedContainer): DrydockError {
  return new DrydockError(
    "preflight",
    `the container that was here before (image ${image}, ${id.slice(0, 12)}) was removed, so that it cannot be given back`,
    { hint: "`drydock uninstall` takes drydock away and keeps the content, the certificates too." },
  );
}

/** What is undone, for people: the release that is served, or whose install was interrupted. */
async function leaving(layout: SiteLayout): Promise<ReleaseName> {
  const one = (await currentRelease(layout)) ?? (await readJournal(layout));
  if (one === undefined) return { name: "", release: 0, digest: "" };
  return { name: one.name, release: one.release, digest: hexOf(one.bundleDigest) };
}

/** The tags that drydock's releases have set, with their values from before. What clients pushed is left alone. */
async function tagsToReturn(layout: SiteLayout, { tagsBefore }: AdoptedRecord): Promise<TagValue[]> {
  const tables = (await changes(layout)).flatMap((one) => [one.tagsBefore, one.tagsAfter]);
  // Each tag once.
  const names = tagTable(tables.flatMap(tagList));
  return valuesOf(names, tagsBefore);
}

/** The names below files/ likewise. */
async function filesToReturn(layout: SiteLayout): Promise<FileValue[]> {
  const undone = (await changes(layout)).reverse().map(filesAsTags);
  return asFiles(tagsAtEnd({ undone, redone: [] }));
}

/** All that drydock has changed there, in that order. */
async function changes(layout: SiteLayout): Promise<(ReleaseRecord | Journal)[]> {
  const inEffect = (await listReleases(layout)).filter(({ rolledBackAt }) => rolledBackAt === undefined);
  const journal = await readJournal(layout);
  return [...inEffect, ...(journal === undefined ? [] : [journal])];
}

/** The site is theirs again. The record of the adoption last but one, so that a run that was killed goes on. */
async function removeRecords(layout: SiteLayout, { leftBefore }: AdoptedRecord): Promise<void> {
  for (const path of [layout.releases, layout.incoming]) {
    await removeTree(path).catch((error) => {
      throw cannotWrite(path, error);
    });
  }
  // Data that drydock had left are its data again.
  if (leftBefore !== undefined) await leaveData(layout, new Date(leftBefore));
  for (const path of leftBefore === undefined ? [layout.journal, layout.marker] : [layout.journal]) {
    try {
      await rm(path, { force: true });
      await syncFolder(dirname(path));
    } catch (error) {
      throw cannotWrite(path, error);
    }
  }
  // Where there was none before, nothing is in it any more.
  await rmdir(layout.files).catch((error: unknown) => {
    if (!["ENOENT", "ENOTEMPTY", "EBUSY"].includes(errorCode(error) ?? ""))
      throw cannotWrite(layout.files, error);
  });
  await forgetAdopted(layout);
  await forgetSite(layout);
}
