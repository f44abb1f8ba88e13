/** Control groups that containers leave behind when they did not end by themselves (versions 1 and 2). */
import { readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

/** Removes those at the top that are called so, or begin with `name-`. What still runs keeps its own. */
export async function removeCgroups(name: string): Promise<void> {
  const controllers = await readdir(root).catch((): string[] => []);
  for (const parent of [root, ...controllers.map((controller) => join(root, controller))]) {
    for (const entry of await readdir(parent).catch((): string[] => [])) {
      if (entry === name || entry.startsWith(`${name}-`)) await removeTree(join(parent, entry));
    }
  }
}

/** In a control group only folders can be removed, and the files go with them. */
async function removeTree(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(folder, entry.name));
  await rmdir(folder).catch(() => {});
}
