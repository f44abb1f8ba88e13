/** What stands at a site, to compare before and after: files, container, and what its registry serves. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../src/oci/digest.ts";
import type { Site } from "../lab/site.ts";

/** path below the folder → all that shows whether it was touched; folders only if asked for */
export type Tree = Record<string, string>;

export async function treeOf(folder: string, options: { folders?: boolean } = {}): Promise<Tree> {
  const found: Tree = {};
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (entry.isDirectory() && options.folders !== true) continue;
    const path = join(entry.parentPath, entry.name);
    const { ino, mode, uid, gid, size, mtimeNs, ctimeNs } = await lstat(path, { bigint: true });
    found[path.slice(folder.length + 1)] = [ino, mode.toString(8), uid, gid, size, mtimeNs, ctimeNs].join(
      " ",
    );
  }
  return Object.fromEntries(Object.entries(found).sort());
}

/** Without the receipts and the folders of the releases: each install writes there when it was last proven. */
export function withoutReceipts(tree: Tree): Tree {
  const isReceipt = (path: string) => /^releases\/[0-9a-f]{64}(?:\/receipt\.(?:json|txt))?$/.test(path);
  return Object.fromEntries(Object.entries(tree).filter(([path]) => !isReceipt(path)));
}

/** The names of the releases' folders: those of certificates and files stand beside them. */
export async function releaseFolders({ siteDir }: Site): Promise<string[]> {
  const names = await readdir(join(siteDir, "releases"));
  return names.filter((name) => /^[0-9a-f]{64}$/.test(name));
}

/** Which container serves, since when. */
export async function containerOf(site: Site): Promise<string> {
  const format = "{{.Id}} {{.State.StartedAt}} {{.State.Running}}";
  return (await site.run("docker", ["inspect", "--format", format, "registry"])).stdout.trim();
}

/**
 * A folder for `skopeo --cert-dir`: the site's CA alone.
 * @param name of the folder, in the site's own
 */
export async function trustFolder(site: Site, name = "trust"): Promise<string> {
  const folder = join(site.folder, name);
  await site.run("/bin/sh", [
    "-c",
    'mkdir -p "$1" && cp "$2/certs/ca.pem" "$1/ca.crt"',
    "sh",
    folder,
    site.siteDir,
  ]);
  return folder;
}

/** The digest of what the site's registry serves under a name, from the bytes that it sends. */
export async function servedDigest(site: Site, name: string, certs: string): Promise<string> {
  const args = ["inspect", "--raw", "--cert-dir", certs, `docker://${site.addresses[0]}/${name}`];
  return digestOf(Buffer.from((await site.run("skopeo", args)).stdout));
}
