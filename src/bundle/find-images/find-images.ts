/**
 * Finds the images that other files name: a Compose file, Kubernetes objects, a list of references. What
 * kind a file is, its content tells.
 */
import { glob, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError, fileErrorText } from "../../errors.ts";
import { isFile } from "../manifest-files.ts";
import { findInCompose } from "./compose.ts";
import type { FoundImages } from "./found.ts";
import { findInKubernetes, isKubernetesObject } from "./kubernetes.ts";
import { findInText } from "./text.ts";
import { isMapping, mapping, YamlText } from "./yaml-text.ts";

/** Stands for standard input in place of a file's name. */
export const standardInput = "-";

/** What a rendered chart comes to is far less; a seed that a pattern matches is far more. */
const largestFile = 64 * 1024 * 1024;

/** What a file of any kind names. @throws DrydockError "input" with file and line, if it can't be read as any */
export function findImages(text: string, file: string): FoundImages {
  const content = text.replace(/^\uFEFF/, "");
  if (!looksLikeYaml(content)) return findInText(content);
  const yaml = new YamlText(content, file);
  const values = yaml.documents.map(({ value }) => value);
  if (values.length === 0) return { images: [], notes: [] };
  if (values.some(isKubernetesObject)) return findInKubernetes(yaml);
  if (values.every((value) => isMapping(mapping(value).services))) return findInCompose(yaml);
  throw yaml.problem(
    yaml.documents[0]?.lineOf([]) ?? 1,
    "it is neither a Compose file, nor Kubernetes objects, nor a list of references",
    "A Compose file has `services`, an object of Kubernetes `apiVersion` and `kind`, a list one reference a line.",
  );
}

/** A key, a list's entry, a document's beginning or JSON: no line of a list of references begins like that. */
function looksLikeYaml(text: string): boolean {
  return /^(?:---|[{[]|- |["']?[\w.$/-]+["']?[ \t]*:(?:\s|$))/m.test(text);
}

/**
 * The files that a pattern matches (node:fs's glob), sorted; a file of exactly that name is meant by itself.
 * @param folder what the pattern is relative to @returns paths that begin with the folder
 * @throws DrydockError "input" where it matches none
 */
export async function matchingFiles(folder: string, pattern: string): Promise<string[]> {
  if (await isFile(join(folder, pattern))) return [join(folder, pattern)];
  const files: string[] = [];
  for await (const name of glob(pattern, { cwd: folder })) {
    const path = join(folder, name);
    if (await isFile(path)) files.push(path);
  }
  if (files.length === 0)
    throw new DrydockError("input", `${JSON.stringify(pattern)} matches no file beside the manifest`);
  return files.sort();
}

/** @throws DrydockError "input" if it is not there, or too large to be such a file */
export async function readSmallFile(path: string): Promise<string> {
  try {
    if ((await stat(path)).size <= largestFile) return await readFile(path, "utf8");
  } catch (cause) {
    throw new DrydockError("input", `read ${JSON.stringify(path)}: ${fileErrorText(cause)}`, { cause });
  }
  throw tooLarge(JSON.stringify(path));
}

/** @throws DrydockError "input" if there is nothing in it, or too much */
export async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    if (size > largestFile) throw tooLarge("standard input");
  }
  return Buffer.concat(chunks).toString("utf8");
}

function tooLarge(what: string): DrydockError {
  return new DrydockError("input", `read ${what}: it is over ${largestFile} bytes, too large to name images`);
}
