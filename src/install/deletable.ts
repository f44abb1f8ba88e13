/** Whether a site's data may be deleted: they are drydock's, and no container uses them that would stay. */
import { lstat, readdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { connectEngine, engineFailure } from "../engine/engine.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { readAdopted } from "../site/adopted.ts";
import type { SiteLayout } from "../site/layout.ts";
import { findSite } from "../site/record.ts";
import { adoptedName, siteLabel } from "./registry-container.ts";

/**
 * What would be deleted by --delete-data, if there is anything: to ask about it before. With it goes the
 * container that was there before drydock, if there was one.
 * @throws DrydockError "preflight" as checkDeletable()
 */
export async function isDeletable(
  site: string | undefined,
): Promise<{ folder: string; container?: string } | undefined> {
  const layout = await findSite(site);
  await checkDeletable(layout);
  if (!(await isDrydocks(layout))) return undefined;
  const adopted = await readAdopted(layout).catch(() => undefined);
  return { folder: layout.root, ...(adopted?.container ? { container: adoptedName } : {}) };
}

/** Whether drydock is there, or has been and left its data. */
export async function isDrydocks(layout: SiteLayout): Promise<boolean> {
  const found = await Promise.all([layout.marker, layout.adopted.record].map(isThere));
  return found.includes(true);
}

/** @throws DrydockError "preflight" if they are not drydock's, a container uses them, or nobody can say. */
export async function checkDeletable(layout: SiteLayout): Promise<void> {
  const { root } = layout;
  const real = await realpath(root).catch(() => root);
  if (real === "/") throw refused(root, "that is the whole file system");
  if (!(await isDrydocks(layout))) {
    if (await holdsSomething(root)) throw refused(root, "it is not drydock's: no drydock.json is in it");
    return;
  }
  const users = await otherUsers(layout, real);
  const [first] = users;
  if (first === undefined) return;
  const which = users.map((name) => JSON.stringify(name)).join(" and ");
  throw new DrydockError("preflight", `delete "${root}": container ${which} uses it`, {
    hint: `Nothing was removed. If nobody needs it: \`docker rm -f ${users.join(" ")}\`, then the same command again.`,
  });
}

function refused(root: string, why: string): DrydockError {
  return new DrydockError("preflight", `delete "${root}": ${why}`, {
    hint: "Nothing was removed. Name the site's directory with --site, or remove this one by hand.",
  });
}

/** The names of containers, running or not, that have something of the site mounted and would stay. */
async function otherUsers(layout: SiteLayout, real: string): Promise<string[]> {
  const adopted = await readAdopted(layout).catch(() => undefined);
  const engine = connectEngine();
  // Otherwise a container of the site might run on while its data are deleted.
  await engine.describe().catch((error: unknown) => {
    throw new DrydockError("preflight", `delete "${layout.root}": ${errorText(error)}`, {
      hint: `Nothing was removed: a container may be using it. Start the engine, and run the same command again. If it is gone for good, run \`drydock uninstall\`, and remove the directory by hand.`,
      cause: error,
    });
  });
  const isInside = (path: string) =>
    [layout.root, real].some((root) => path === root || path.startsWith(`${root}/`));
  try {
    const all = await engine.docker.listContainers({ all: true });
    return all
      .filter(({ Id, Labels }) => Labels[siteLabel] !== layout.root && Id !== adopted?.container?.id)
      .filter(({ Mounts }) => Mounts.some(({ Source }) => Source !== undefined && isInside(Source)))
      .map(({ Names, Id }) => Names[0]?.replace(/^\//, "") ?? Id);
  } catch (error) {
    throw engineFailure("look at the containers", error);
  }
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
export async function namesIn(path: string): Promise<string[]> {
  return await readdir(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  });
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
