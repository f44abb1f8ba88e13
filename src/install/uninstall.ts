/**
 * `drydock uninstall`: takes away what drydock made, all but the data, or the data too. It goes on past what
 * it cannot remove, says so in the end, and can be run again. It needs nothing of what an install leaves:
 * neither a release nor a whole record.
 */
import { lstat, readdir, realpath, unlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { inspectContainer, removeContainer } from "../engine/container.ts";
import { connectEngine, type Engine, engineFailure, engineStatus } from "../engine/engine.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type AdoptedContainer, readAdopted } from "../site/adopted.ts";
import { removeTemporaries } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import { configFolder, findSite, forgetSite } from "../site/record.ts";
import { removeContainers } from "./containers.ts";
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
  /** mount points that are empty now */
  emptied: string[];
  /** the container that was here before drydock, if it is there again */
  givenBack?: string;
  /** what could not be removed, and why */
  left: { what: string; why: string }[];
}

/** @throws DrydockError "preflight" if the data would be deleted of a directory that is not drydock's. */
export async function uninstall(options: UninstallOptions, reporter: Reporter): Promise<UninstallResult> {
  const layout = await findSite(options.site);
  const lock = await takeLock("site", layout.root);
  try {
    const claimed = (await exists(layout.marker)) || (await exists(layout.adopted.record));
    if (options.deleteData) await checkDeletable(layout, claimed);
    const result: UninstallResult = { site: layout.root, removed: [], kept: [], emptied: [], left: [] };
    const adopted = await readAdopted(layout).catch(() => undefined);
    await runStep(reporter, "container", async () => {
      await removeFromEngine(layout, result);
      if (adopted?.container) await release(layout, adopted.container, options.deleteData, result);
    });
    await runStep(reporter, "files", async () => {
      if (claimed && options.deleteData) await deleteAll(layout, result);
      else if (claimed) await removeOwn(layout, result);
      await attempt(result, "this host's record of where the site is", async () => {
        if (await forgetSite(layout)) result.removed.push(join(configFolder(), "site.json"));
      });
    });
    return result;
  } finally {
    await lock.release();
  }
}

/**
 * What would be deleted by --delete-data, if there is anything: to ask about it before. With it goes the
 * container that was there before drydock, if there was one.
 */
export async function isDeletable(
  site: string | undefined,
): Promise<{ folder: string; container?: string } | undefined> {
  const layout = await findSite(site);
  const claimed = (await exists(layout.marker)) || (await exists(layout.adopted.record));
  await checkDeletable(layout, claimed);
  if (!claimed) return undefined;
  const adopted = await readAdopted(layout).catch(() => undefined);
  return { folder: layout.root, ...(adopted?.container ? { container: adoptedName } : {}) };
}

async function checkDeletable({ root }: SiteLayout, claimed: boolean): Promise<void> {
  const refuse = (why: string) =>
    new DrydockError("preflight", `delete "${root}": ${why}`, {
      hint: "Nothing was removed. Name the site's directory with --site, or remove this one by hand.",
    });
  if ((await realpath(root).catch(() => root)) === "/") throw refuse("that is the whole file system");
  if (!claimed && (await holdsSomething(root))) throw refuse("it is not drydock's: no drydock.json is in it");
}

async function removeFromEngine(layout: SiteLayout, result: UninstallResult): Promise<void> {
  await attempt(result, "the registry's container and image", async () => {
    const engine = connectEngine();
    for (const name of await removeContainers(engine, layout)) result.removed.push(`container ${name}`);
    for (const name of await removeImages(engine)) result.removed.push(`image ${name}`);
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

/** What is drydock's own in the site; the marker last, so that a run that is cut short can be repeated. */
async function removeOwn(layout: SiteLayout, result: UninstallResult): Promise<void> {
  const own = [layout.releases, layout.incoming, layout.journal, layout.marker];
  for (const path of isHeld(result) ? own : [...own, layout.adopted.folder]) await remove(path, result);
  // A run that was killed may have left some.
  for (const folder of [layout.root, layout.certs])
    await attempt(result, folder, () => removeTemporaries(folder));
  for (const path of [layout.storage, layout.certs, layout.files])
    if ((await namesIn(path)).length > 0) result.kept.push(path);
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

/** Anything but empty folders, which may be mount points that were emptied. */
async function holdsSomething(root: string): Promise<boolean> {
  for (const name of await namesIn(root)) {
    const path = join(root, name);
    if (!(await lstat(path)).isDirectory() || (await namesIn(path)).length > 0) return true;
  }
  return false;
}

/** None if there is no such folder. */
async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  });
}
