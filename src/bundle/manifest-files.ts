/**
 * The files that a manifest carries: what its patterns match.
 */
import { glob, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { DrydockError } from "../errors.ts";

export interface ManifestCarriedFile {
  /** below the manifest's folder, and below the site's files/: "charts/app-1.tgz" */
  name: string;
  /** absolute */
  path: string;
}

/** Whether it is, or leads to, a regular file. */
export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/**
 * The regular files below `folder` that a glob pattern matches (node:fs's glob).
 * @throws DrydockError "input" where it matches none, or leads out of the folder.
 */
export async function carriedFiles(folder: string, pattern: string): Promise<ManifestCarriedFile[]> {
  const files: ManifestCarriedFile[] = [];
  if (isAbsolute(pattern) || pattern.split("/").includes("..")) throw outside(pattern);
  for await (const name of glob(pattern, { cwd: folder })) {
    // Braces may hide them in the pattern: {a,..}/*
    if (isAbsolute(name) || name.split("/").includes("..")) throw outside(pattern);
    const path = join(folder, name);
    if (!(await isFile(path))) continue;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    if (name.length > 1024 || /[\u0000-\u001f\\\u007f]/.test(name)) {
      throw new DrydockError("input", `file ${JSON.stringify(name)}: such a name cannot be carried`, {
        hint: "Names have no backslash, no control character, and 1024 characters at most.",
      });
    }
    files.push({ name, path });
  }
  if (files.length === 0) {
    throw new DrydockError("input", `${JSON.stringify(pattern)} matches no file beside the manifest`);
  }
  return files;
}

function outside(pattern: string): DrydockError {
  return new DrydockError("input", `${JSON.stringify(pattern)} leads out of the manifest's folder`, {
    hint: "Put the files below it, or the manifest above them.",
  });
}
