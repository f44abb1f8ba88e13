/**
 * `drydock trust --kit`: a zip archive for hosts that can't be reached over SSH. It has the CA, a script for each
 * system, and a page that says how.
 */
import { dirname } from "node:path";
import { DrydockError } from "../../errors.ts";
import type { Reporter } from "../../reporter.ts";
import { writeDurably } from "../../site/durable.ts";
import { windowsDirectory } from "../places.ts";
import { type Contents, fillAndWrite, type KitFile, kindOf, type Trusted, type Written } from "./contents.ts";
import { zip } from "./zip.ts";

/**
 * @param options.force replaces a file that is there
 * @throws DrydockError "usage" if the path exists, or its folder doesn't; "input" if the CA is none; "host"
 */
export async function writeKit(
  path: string,
  trusted: Trusted,
  options: { force: boolean },
  reporter: Reporter,
): Promise<Written> {
  return await fillAndWrite("kit", path, trusted, reporter, {
    check: () => checkFile(path, options.force),
    files: kitFiles,
    write: async (files, { date }) => await writeDurably(path, await zip(files, date)),
  });
}

/** In a folder of their own, called after the registry: kits of several registries may lie side by side. */
function kitFiles(contents: Contents): KitFile[] {
  const folder = `drydock-kit-${windowsDirectory(contents.registry).replaceAll(/[[\]]/g, "")}`;
  const names = ["README.txt", "linux.sh", "macos.sh", "windows.ps1"] as const;
  return [
    ...names.map((name) => ({ path: `${folder}/${name}`, text: contents.fill(`zip/${name}`) })),
    { path: `${folder}/ca.pem`, text: contents.ca },
  ];
}

async function checkFile(path: string, force: boolean): Promise<void> {
  const kind = await kindOf(path);
  if (kind === "none" && (await kindOf(dirname(path))) === "none") {
    throw new DrydockError("usage", `write kit ${JSON.stringify(path)}: its folder is not there`, {
      hint: "Make it, or name another one with --kit.",
    });
  }
  if (kind === "none" || (kind === "file" && force)) return;
  if (kind === "file") {
    throw new DrydockError("usage", `write kit ${JSON.stringify(path)}: it exists`, {
      hint: "Give --force to replace it, or another name with --kit.",
    });
  }
  throw new DrydockError("usage", `write kit ${JSON.stringify(path)}: it is there, and is no regular file`, {
    hint: "Name a file with --kit.",
  });
}
