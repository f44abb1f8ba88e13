/**
 * `drydock trust --ansible`: an Ansible role, for those who have such an engine for ten thousand hosts already.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DrydockError, errorCode } from "../../errors.ts";
import type { Reporter } from "../../reporter.ts";
import { cannotWrite, makeFolder, namesIn, writeDurably } from "../../site/durable.ts";
import {
  type Contents,
  fillAndWrite,
  type KitFile,
  kindOf,
  type TemplateName,
  type Trusted,
  type Written,
} from "./contents.ts";
import { templates } from "./templates.ts";

/**
 * A role of an earlier run is renewed: what its files say is the templates' alone.
 * @param path a folder, which is made if it is missing
 * @param options.force writes into a folder that holds something else
 * @throws DrydockError "usage" if the folder holds something else; "input" if the CA is none; "host"
 */
export async function writeRole(
  path: string,
  trusted: Trusted,
  options: { force: boolean },
  reporter: Reporter,
): Promise<Written> {
  return await fillAndWrite("role", path, trusted, reporter, {
    check: () => checkFolder(path, options.force),
    files: roleFiles,
    write: async (files) => {
      for (const file of files) {
        await makeFolder(dirname(join(path, file.path)));
        await writeDurably(join(path, file.path), file.text);
      }
    },
  });
}

function roleFiles(contents: Contents): KitFile[] {
  const names = Object.keys(templates).filter((name) => name.startsWith("role/")) as TemplateName[];
  return [
    ...names.map((name) => ({ path: name.slice("role/".length), text: contents.fill(name) })),
    { path: "files/ca.pem", text: contents.ca },
  ];
}

async function checkFolder(path: string, force: boolean): Promise<void> {
  const kind = await kindOf(path);
  if (kind === "other" || kind === "file") {
    throw new DrydockError("usage", `write role ${JSON.stringify(path)}: it is there, and is no folder`, {
      hint: "Name a folder with --ansible.",
    });
  }
  if (kind === "none" || force || (await namesIn(path)).length === 0 || (await isOurs(path))) return;
  throw new DrydockError("usage", `write role ${JSON.stringify(path)}: the folder holds something else`, {
    hint: "Name an empty folder, or a new one; --force writes into this one.",
  });
}

async function isOurs(path: string): Promise<boolean> {
  const meta = join(path, "meta/main.yml");
  const text = await readFile(meta, "utf8").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return "";
    throw cannotWrite(meta, error);
  });
  return /^ {2}author: drydock$/m.test(text);
}
