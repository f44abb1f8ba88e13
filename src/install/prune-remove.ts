/** Removing what a prune has found that nothing uses. Each can be repeated; what is gone already is no error. */
import { rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Engine, engineFailure, engineStatus } from "../engine/engine.ts";
import { errorCode } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { repositoriesRoot, repositoryPath } from "../oci/storage.ts";
import type { Step } from "../reporter.ts";
import { cannotWrite, syncFolder, syncFolders } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { FolderRemoval } from "./prune-folders.ts";
import type { StorageRemoval } from "./prune-storage.ts";
import { removeTree } from "./remove-tree.ts";
import { registryImageName } from "./serve.ts";
import { eachOf } from "./tags.ts";

/**
 * What says that a repository has an image manifest or a layer; on disk before a blob goes. Image manifests
 * first: one that is left without its layers could still be asked for. @throws DrydockError "host"
 */
export async function removeLinks(
  layout: SiteLayout,
  { revisions, tagIndexes, layers, repositories }: StorageRemoval,
): Promise<void> {
  for (const links of [revisions, [...layers, ...tagIndexes]])
    await removeEach(links.map(({ path }) => dirname(path)));
  for (const name of repositories) await removeEmptyRepository(layout, name);
}

/** @throws DrydockError "host" */
export async function removeBlobs(blobs: ReadonlyMap<Digest, string>, step: Step): Promise<void> {
  await removeEach(
    [...blobs.values()].map((path) => dirname(path)),
    (bytes) => step.advance(bytes),
  );
}

/** Folders of a link or blob, with the file in it; then the names are synced. */
async function removeEach(folders: readonly string[], onRemoved?: (bytes: number) => void): Promise<void> {
  await eachOf(folders, async (folder) => {
    try {
      const size = onRemoved && (await stat(join(folder, "data")).catch(() => undefined))?.size;
      await rm(folder, { recursive: true, force: true });
      onRemoved?.(size ?? 0);
    } catch (error) {
      throw cannotWrite(folder, error);
    }
  });
  // With a tag that went, its whole list of what it ever named is gone already.
  const parents = new Set(folders.map((folder) => dirname(folder)));
  const there = new Set<string>();
  await eachOf(parents, async (path) => {
    if ((await stat(path).catch(() => undefined)) !== undefined) there.add(path);
  });
  await syncFolders(there);
}

/** What is not empty stays: an upload that is under way, a repository whose name goes on. */
async function removeEmptyRepository(layout: SiteLayout, name: string): Promise<void> {
  const folder = join(layout.storage, repositoryPath(name));
  const below = ["_manifests/tags", "_manifests/revisions/sha256", "_manifests/revisions", "_manifests"];
  for (const part of [...below, "_layers/sha256", "_layers", "_uploads"])
    await removeIfEmpty(join(folder, part));
  const top = join(layout.storage, repositoriesRoot);
  for (let at = folder; at !== top && (await removeIfEmpty(at)); at = dirname(at));
}

/** @returns whether it is gone @throws DrydockError "host" */
async function removeIfEmpty(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return true;
    if (["ENOTEMPTY", "EEXIST", "EBUSY", "ENOTDIR"].includes(errorCode(error) ?? "")) return false;
    throw cannotWrite(folder, error);
  }
}

/** @throws DrydockError "host" */
export async function removeFolders(layout: SiteLayout, folders: readonly FolderRemoval[]): Promise<void> {
  for (const { path, names, whole } of folders) {
    for (const name of names) await removed(join(path, name));
    if (whole) await removed(path);
  }
  if (folders.length > 0) await syncFolder(layout.releases);
}

async function removed(path: string): Promise<void> {
  try {
    await removeTree(path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Those that no container uses: another site's may. They can be loaded again. @throws DrydockError "host" */
export async function removeRegistryImages(engine: Engine, images: readonly Digest[]): Promise<void> {
  for (const image of images) {
    const name = registryImageName(image);
    try {
      await engine.docker.getImage(name).remove();
    } catch (error) {
      // Gone already, or in use.
      if (![404, 409].includes(engineStatus(error) ?? 0))
        throw engineFailure(`remove image "${name}"`, error);
    }
  }
}
