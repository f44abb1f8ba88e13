/** A kit as its receiver has it: written, and unpacked with unzip. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { silentReporter } from "../../../src/reporter.ts";
import type { Trusted } from "../../../src/trust/kit/contents.ts";
import { writeKit } from "../../../src/trust/kit/kit.ts";
import { run } from "../../lab/process.ts";

/** @param folder is made; the archive lies beside it @returns the folder of the scripts */
export async function unpackedKit(folder: string, trusted: Trusted): Promise<string> {
  const archive = `${folder}.zip`;
  const { files } = await writeKit(archive, trusted, { force: false }, silentReporter);
  await mkdir(folder);
  await run("unzip", ["-q", archive, "-d", folder]);
  return join(folder, files[0]?.split("/")[0] ?? "");
}
