/** This machine's own files as entries of a layer: the material of the lab's images that really run. */
import { lstat, readFile, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { LayerEntry } from "./images.ts";
import { run } from "./process.ts";

/** This machine's platform as in OCI: `linux/amd64`. */
export const hostPlatform: string = `linux/${process.arch === "x64" ? "amd64" : process.arch}`;

/** The platform that this machine is not. */
export const otherPlatform: string = hostPlatform === "linux/amd64" ? "linux/arm64" : "linux/amd64";

/** A program from the PATH or a sbin folder. @throws Error that names the Debian package to install */
export async function findProgram(name: string, debianPackage: string): Promise<string> {
  for (const folder of ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]) {
    const path = join(folder, name);
    if ((await stat(path).catch(() => undefined))?.isFile()) return path;
  }
  throw new Error(`find ${name}: not on this machine; apt-get install ${debianPackage}`);
}

/** The shared libraries that a program loads, under the names by which it looks for them. */
export async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await run("ldd", [program]);
  return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)].flatMap((match) => match[1] ?? []);
}

/** A file, whatever it links to, under another name. */
export async function entryFor(source: string, path: string): Promise<LayerEntry> {
  const { mode } = await stat(source);
  return { path, content: await readFile(source), mode: mode & 0o755 };
}

/** Directories for all that lie under others, parents first; entries that exist already stay. */
export function withParents(entries: LayerEntry[]): LayerEntry[] {
  const all = new Map<string, LayerEntry>();
  for (const entry of entries) {
    const parts = entry.path.split("/");
    for (let count = 1; count < parts.length; count++) {
      const path = parts.slice(0, count).join("/");
      if (!all.has(path)) all.set(path, { path });
    }
    all.set(entry.path, entry);
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** What installed Debian packages put on the disk, without documentation; set-user-id bits are dropped. */
export async function packageFiles(packages: string[]): Promise<LayerEntry[]> {
  const { stdout } = await run("dpkg-query", ["-L", ...packages]);
  const entries = new Map<string, LayerEntry>();
  for (const line of stdout.split("\n")) {
    if (!line.startsWith("/") || line === "/." || /\/share\/(doc|man|locale|info)\b/.test(line)) continue;
    // dpkg lists /bin/bash even where /bin is a link to usr/bin.
    const folder = await realpath(dirname(line)).catch(() => undefined);
    if (folder === undefined) continue;
    const entry = await entryAt(join(folder, basename(line)));
    if (entry !== undefined) entries.set(entry.path, entry);
  }
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    const entry = await entryAt(`/${name}`);
    if (entry !== undefined) entries.set(entry.path, entry);
  }
  return withParents([...entries.values()]);
}

/** @returns undefined for what is gone, and for what does not fit a plain tar header */
async function entryAt(source: string): Promise<LayerEntry | undefined> {
  const found = await lstat(source).catch(() => undefined);
  const path = source.slice(1);
  if (found === undefined || path.length > 99) return undefined;
  if (found.isDirectory()) return { path };
  if (found.isSymbolicLink()) return { path, link: await readlink(source) };
  return found.isFile() ? entryFor(source, path) : undefined;
}
