/**
 * `drydock trust --kit`: a zip archive for hosts that can't be reached over SSH. It has the CA, a script for each
 * system, and a page that says how.
 */
import { DrydockError } from "../../errors.ts";
import { type Reporter, runStep } from "../../reporter.ts";
import { writeDurably } from "../../site/durable.ts";
import { windowsDirectory } from "../places.ts";
import { Contents, type KitFile, kindOf, type Trusted, type Written } from "./contents.ts";
import { zip } from "./zip.ts";

/**
 * @param options.force replaces a file that is there
 * @throws DrydockError "usage" if the path exists; "input" if the CA is none; "host"
 */
export async function writeKit(
  path: string,
  trusted: Trusted,
  options: { force: boolean },
  reporter: Reporter,
): Promise<Written> {
  const contents = new Contents(trusted);
  return await runStep(reporter, "write the kit", async () => {
    await checkFile(path, options.force);
    const files = kitFiles(contents);
    await writeDurably(path, await zip(files, contents.date));
    return contents.written(path, files);
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
