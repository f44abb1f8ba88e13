/** Every tag in a registry's storage, whoever set it. */
import type { Dirent } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { isRepositoryName, isTag } from "../oci/reference.ts";
import { repositoriesRoot, tagsPath } from "../oci/storage.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";
import { readTagsNow } from "./tags.ts";

/**
 * Reads the names of folders and the tags' links alone. What bears no valid name is nothing that a registry
 * serves, and is left out. @throws DrydockError "host" if it cannot be read.
 */
export async function readAllTags(layout: SiteLayout): Promise<Tags> {
  const names: { repository: string; tag: string }[] = [];
  for await (const repository of repositoriesIn(join(layout.storage, repositoriesRoot))) {
    if (!isRepositoryName(repository)) continue;
    const tags = await foldersIn(join(layout.storage, tagsPath(repository)));
    names.push(...tags.filter(isTag).map((tag) => ({ repository, tag })));
  }
  return await readTagsNow(names, layout);
}

/** A repository may have others below it. What begins with an underscore is the registry's own. */
async function* repositoriesIn(root: string, name = ""): AsyncGenerator<string> {
  const folders = await foldersIn(join(root, name));
  if (folders.includes("_manifests")) yield name;
  for (const folder of folders) {
    if (!folder.startsWith("_")) yield* repositoriesIn(root, name === "" ? folder : `${name}/${folder}`);
  }
}

async function foldersIn(path: string): Promise<string[]> {
  const entries: Dirent[] = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  });
  return entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink()).map(({ name }) => name);
}
