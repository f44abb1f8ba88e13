/** Everything that stands in a site's storage, as the registry understands it. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { parseStoragePath, storageRoot } from "../oci/storage.ts";
import type { SiteLayout } from "../site/layout.ts";
import { eachOf, readLink, type TagValue } from "./tags.ts";

export interface StoredLink {
  repository: string;
  digest: Digest;
  /** absolute */
  path: string;
}

export interface StorageTree {
  /** what they name now */
  tags: (TagValue & { digest: Digest })[];
  /** what each tag has ever named */
  tagIndexes: StoredLink[];
  revisions: StoredLink[];
  layers: StoredLink[];
  /** what links say that stand where drydock knows none: whoever put them there may need it */
  strange: Digest[];
  /** digest → absolute path */
  blobs: Map<Digest, string>;
}

/** Uploads that are under way are left out. @throws DrydockError "host" if anything cannot be read. */
export async function readStorageTree(layout: SiteLayout): Promise<StorageTree> {
  const tree: StorageTree = {
    ...{ tags: [], tagIndexes: [], revisions: [], layers: [], strange: [] },
    blobs: new Map(),
  };
  await eachOf(await filesOf(layout.storage), (path) => enter(tree, layout, path));
  return tree;
}

async function enter(tree: StorageTree, layout: SiteLayout, relative: string): Promise<void> {
  const entry = parseStoragePath(relative);
  const path = join(layout.storage, relative);
  if (entry?.kind === "blob") tree.blobs.set(entry.digest, path);
  else if (entry?.kind === "revision") tree.revisions.push({ ...entry, path });
  else if (entry?.kind === "layer") tree.layers.push({ ...entry, path });
  else if (entry?.kind === "tag-index") tree.tagIndexes.push({ ...entry, path });
  else if (basename(path) === "link") {
    const digest = await readLink(path);
    if (digest === undefined || !isDigest(digest)) return;
    if (entry?.kind === "tag-current") tree.tags.push({ ...entry, digest });
    else tree.strange.push(digest);
  }
}

/** The paths of all files below the tree's root, relative to the storage. Folder by folder, some at a time. */
async function filesOf(storage: string): Promise<string[]> {
  const files: string[] = [];
  for (let folders = [storageRoot]; folders.length > 0; ) {
    const next: string[] = [];
    await eachOf(folders, async (folder) => {
      for (const { name, isFolder } of await entriesOf(join(storage, folder))) {
        if (!isFolder) files.push(`${folder}/${name}`);
        else if (name !== "_uploads") next.push(`${folder}/${name}`);
      }
    });
    folders = next;
  }
  return files;
}

/** A symbolic link is what it points to, as for the registry. */
async function entriesOf(folder: string): Promise<{ name: string; isFolder: boolean }[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return await Promise.all(
      entries.map(async (entry) => {
        const linked = entry.isSymbolicLink() ? await stat(join(folder, entry.name)) : entry;
        return { name: entry.name, isFolder: linked.isDirectory() };
      }),
    );
  } catch (error) {
    if (errorCode(error) === "ENOENT" && folder.endsWith(storageRoot)) return [];
    throw new DrydockError("host", `read "${folder}": ${errorText(error)}`, { cause: error });
  }
}

/** The bytes of a blob; undefined if it is not there. @throws DrydockError "host" if it cannot be read. */
export async function readStored(tree: StorageTree, digest: Digest): Promise<Buffer | undefined> {
  const path = tree.blobs.get(digest);
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
