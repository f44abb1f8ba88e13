/**
 * `drydock uninstall`: takes away what drydock made, all but the data, or the data too. It goes on past what
 * it cannot remove, says so in the end, and can be run again. It needs nothing of what an install leaves:
 * neither a release nor a whole record.
 */
import { lstat, realpath, unlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { inspectContainer, removeContainer } from "../engine/container.ts";
import { connectEngine, type Engine, engineFailure, engineStatus } from "../engine/engine.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type AdoptedContainer, readAdopted } from "../site/adopted.ts";
import { removeTemporaries } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import { leaveData } from "../site/marker.ts";
import { configFolder, currentRelease, findSite, forgetSite } from "../site/record.ts";
import { removeContainers } from "./containers.ts";
import { checkDeletable, isDrydocks, namesIn } from "./deletable.ts";
import { bringBack } from "./give-back.ts";
import { adoptedName, containerName } from "./registry-container.ts";
import { removeEmpty, removeTree } from "./remove-tree.ts";
import { imageRepository } from "./serve.ts";

export interface UninstallOptions {
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** the whole site directory, and not only what is drydock's own in it */
  deleteData: boolean;
}

export interface UninstallResult {
  /** the site's directory */
  site: string;
  /** names of containers and images; paths of files and folders */
  removed: string[];
  /** paths of the data that stay */
  kept: string[];
  /** present if a later run may delete what is kept: it was not there before drydock */
  deletable?: true;
  /** mount points that are empty now */
  emptied: string[];
  /** where the registry was: by these, clients can be made to forget its CA. Absent if nothing was served, or if what was there before drydock serves again. */
  served?: { addresses: string[]; port: number };
  /** the container that was here before drydock, if it is there again */
  givenBack?: string;
  /** what could not be removed, and why */
  left: { what: string; why: string }[];
}

/** @throws DrydockError "preflight" if data would be deleted that are not drydock's, or that a container uses. */
export async function uninstall(options: UninstallOptions, reporter: Reporter): Promise<UninstallResult> {
  const layout = await findSite(options.site);
  const lock = await takeLock("site", layout.root);
  try {
    const claimed = await isDrydocks(layout);
    if (options.deleteData) await checkDeletable(layout);
    const result: UninstallResult = { site: layout.root, removed: [], kept: [], emptied: [], left: [] };
    const adopted = await readAdopted(layout).catch(() => undefined);
    // After a broken install there may be none that can be read.
    const served = (await currentRelease(layout).catch(() => undefined))?.settings;
    await runStep(reporter, "container", async () => {
      await removeFromEngine(layout, result);
      if (adopted?.container) await release(layout, adopted.container, options.deleteData, result);
    });
    await runStep(reporter, "files", async () => {
      // A container that is still there would serve what is being deleted.
      if (options.deleteData && result.left.some(({ what }) => what === whatContainer))
        result.left.push({ what: layout.root, why: "its container has to go first" });
      else if (claimed && options.deleteData) await deleteAll(layout, result);
      else if (claimed) await removeOwn(layout, result);
      await attempt(result, "this host's record of where the site is", async () => {
        if (await forgetSite(layout)) result.removed.push(join(configFolder(), "site.json"));
      });
    });
    if (served !== undefined && result.givenBack === undefined)
      result.served = { addresses: served.addresses, port: served.port };
    return result;
  } finally {
    await lock.release();
  }
}

async function removeFromEngine(layout: SiteLayout, result: UninstallResult): Promise<void> {
  await attempt(result, whatContainer, async () => {
    for (const name of await removeContainers(connectEngine(), layout))
      result.removed.push(`container ${name}`);
  });
  if (result.left.length > 0) return;
  await attempt(result, "the registry's image", async () => {
    for (const name of await removeImages(connectEngine())) result.removed.push(`image ${name}`);
  });
}

/**
 * The container that was there before drydock: back in its place, or removed with its data. Where that fails
 * its record stays, for the next try.
 */
async function release(
  layout: SiteLayout,
  container: AdoptedContainer,
  deleteData: boolean,
  result: UninstallResult,
): Promise<void> {
  await attempt(result, whatAdopted, async () => {
    const engine = connectEngine();
    if ((await inspectContainer(engine, container.id)) === undefined) return;
    if (deleteData) {
      await removeContainer(engine, container.id);
      result.removed.push(`container ${adoptedName}`);
    } else {
      await bringBack(engine, layout, container);
      result.givenBack = containerName;
    }
  });
}

const whatContainer = "the registry's container and image";
const whatAdopted = "the container that was here before drydock";

/** Whether its record is still needed. */
function isHeld({ left }: UninstallResult): boolean {
  return left.some(({ what }) => what === whatAdopted);
}

/** Those that no container uses: another site's may. */
async function removeImages(engine: Engine): Promise<string[]> {
  const removed: string[] = [];
  const ours = new RegExp(`(^|/)${imageRepository}:`);
  try {
    for (const { RepoTags } of await engine.docker.listImages()) {
      for (const name of RepoTags ?? []) {
        if (ours.test(name) && (await removeImage(engine, name))) removed.push(name);
      }
    }
  } catch (error) {
    throw engineFailure("remove the registry's image", error);
  }
  return removed;
}

async function removeImage(engine: Engine, name: string): Promise<boolean> {
  try {
    await engine.docker.getImage(name).remove();
    return true;
  } catch (error) {
    // Gone meanwhile, or in use.
    if ([404, 409].includes(engineStatus(error) ?? 0)) return false;
    throw error;
  }
}

/**
 * What is drydock's own in the site. The marker stays beside data that are kept, so that they can be deleted
 * later; but not where they, or some of them, were there before drydock.
 */
async function removeOwn(layout: SiteLayout, result: UninstallResult): Promise<void> {
  const isAdopted = await exists(layout.adopted.record);
  const own = [layout.releases, layout.incoming, layout.journal, layout.clients];
  for (const path of isHeld(result) ? own : [...own, layout.adopted.folder]) await remove(path, result);
  // A run that was killed may have left some.
  for (const folder of [layout.root, layout.certs])
    await attempt(result, folder, () => removeTemporaries(folder));
  for (const path of [layout.storage, layout.certs, layout.files])
    if ((await namesIn(path)).length > 0) result.kept.push(path);
  if (result.kept.length > 0 && !isAdopted) {
    result.deletable = true;
    await attempt(result, layout.marker, () => leaveData(layout));
  } else await remove(layout.marker, result);
  if (result.kept.length > 0 || (await namesIn(layout.root)).length > 0) return;
  await attempt(result, layout.root, async () => {
    result.emptied.push(...(await removeEmpty(layout.root)));
  });
}

/** The site's directory with all that is in it; the marker last. */
async function deleteAll(layout: SiteLayout, result: UninstallResult): Promise<void> {
  const root = await realpath(layout.root);
  const marker = "drydock.json";
  const kept = isHeld(result) ? [marker, basename(layout.adopted.folder)] : [marker];
  for (const name of await namesIn(root)) if (!kept.includes(name)) await remove(join(root, name), result);
  if (isHeld(result) || result.left.some(({ what }) => what.startsWith(`${root}/`))) return;
  await remove(join(root, marker), result);
  await attempt(result, layout.root, async () => {
    result.emptied.push(...(await removeEmpty(root, result.emptied.length > 0)));
    if (root !== layout.root) await unlink(layout.root);
  });
}

async function remove(path: string, result: UninstallResult): Promise<void> {
  if (!(await exists(path))) return;
  await attempt(result, path, async () => {
    result.emptied.push(...(await removeTree(path)));
    result.removed.push(path);
  });
}

/** An expected failure is noted, and the work goes on. */
async function attempt(result: UninstallResult, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof DrydockError) && errorCode(error) === undefined) throw error;
    result.left.push({ what, why: errorText(error) });
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
