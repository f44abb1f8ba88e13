/**
 * What a site's directory holds, to be compared, and to be put back. All at once and not side by side: of
 * hundreds of small files that takes the least of the machine's time.
 */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** path below the folder → what stands there */
export type Snapshot = Map<string, Entry>;

interface Entry {
  /** "file 0644 <sha256>", "folder 0755" */
  is: string;
  size: number;
  /** of small files, and of those that people see, to be put back; larger ones never change, they come and go */
  content: Buffer | undefined;
}

const small = 64 * 1024;

export function takeSnapshot(folder: string): Snapshot {
  const found = pathsIn(folder).map((name): [string, Entry] => {
    const path = join(folder, name);
    const stats = lstatSync(path);
    const mode = (stats.mode & 0o777).toString(8).padStart(4, "0");
    if (stats.isDirectory()) return [name, { is: `folder ${mode}`, size: 0, content: undefined }];
    const content = readFileSync(path);
    const { length: size } = content;
    const hash = createHash("sha256").update(content).digest("hex");
    const changes = size <= small || name.startsWith("files/");
    return [name, { is: `file ${mode} ${hash}`, size, content: changes ? content : undefined }];
  });
  return new Map(found);
}

/** Puts the folder back to what it was, each file by rename: others may read there. */
export function putBack(folder: string, snapshot: Snapshot): void {
  let removed = "/";
  for (const name of pathsIn(folder)) {
    // What is in a folder that is gone is gone.
    if (snapshot.has(name) || name.startsWith(`${removed}/`)) continue;
    rmSync(join(folder, name), { recursive: true, force: true });
    removed = name;
  }
  for (const [name, { is, size, content }] of snapshot) {
    const path = join(folder, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (is.startsWith("folder")) {
      if (stats === undefined) mkdirSync(path);
    } else if (content === undefined) {
      if (stats?.size !== size) throw new Error(`put back "${path}": it has changed`);
    } else if (stats === undefined || !readFileSync(path).equals(content)) {
      writeFileSync(`${path}.put-back`, content, { mode: Number.parseInt(is.split(" ")[1] ?? "", 8) });
      renameSync(`${path}.put-back`, path);
    }
  }
}

/** Each folder before what is in it, and that right after it. */
function pathsIn(folder: string, below = ""): string[] {
  const entries = readdirSync(join(folder, below), { withFileTypes: true });
  return entries.flatMap((entry) => {
    const name = join(below, entry.name);
    return entry.isDirectory() ? [name, ...pathsIn(folder, name)] : [name];
  });
}

/** How many blobs of the registry's are in it. */
export function blobsIn(snapshot: Snapshot): number {
  return [...snapshot.keys()].filter((path) => path.endsWith("/data")).length;
}

/** How many blobs a site's storage has now. */
export function countBlobs(siteDir: string): number {
  const all = readdirSync(join(siteDir, "storage/docker/registry/v2/blobs"), { recursive: true });
  return all.filter((path) => String(path).endsWith("/data")).length;
}
