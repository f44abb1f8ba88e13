/**
 * What the manifest's `files:` carried. People see it under its name, which does not say what it holds: so
 * it is placed by its digest first, as a blob, and gets its name when all of the bundle was found whole.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { cannotWrite, makeFolderUnsynced, syncFolders } from "../site/durable.ts";
import type { ReleaseLayout, SiteLayout } from "../site/layout.ts";
import { copy, move } from "./move.ts";

export interface ShownFile {
  digest: Digest;
  /** where it stands until all of the bundle is placed */
  staged: string;
  /** where people see it */
  path: string;
}

/** Those that are not seen yet, or hold something else. Reads those that are there. @throws DrydockError "host" */
export async function planFiles(
  files: BundleIndex["files"],
  layout: SiteLayout,
  release: ReleaseLayout,
): Promise<ShownFile[]> {
  const planned: ShownFile[] = [];
  for (const { name, digest } of files) {
    const path = join(layout.files, name);
    if ((await digestOfFile(path)) === digest) continue;
    planned.push({ digest, staged: release.stagedFile(digest), path });
  }
  return planned;
}

/** Gives the files their names, each by rename. @throws DrydockError "host" naming the path. */
export async function showFiles(files: ShownFile[]): Promise<void> {
  const folders = new Set<string>();
  for (const [number, { staged, path }] of files.entries()) {
    await makeFolderUnsynced(dirname(path), folders);
    // Two names may hold the same.
    const again = files.slice(number + 1).some((later) => later.staged === staged);
    try {
      await (again ? copy(staged, path) : move(staged, path));
    } catch (error) {
      throw cannotWrite(path, error);
    }
  }
  await syncFolders(folders);
  for (const folder of new Set(files.map(({ staged }) => dirname(staged))))
    await rm(folder, { recursive: true, force: true });
}

/** undefined if there is no such file @throws DrydockError "host" if it cannot be read. */
export async function digestOfFile(path: string): Promise<Digest | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EISDIR"].includes(errorCode(error) ?? "")) return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
  return `sha256:${hash.digest("hex")}`;
}
