/** `trust` from within a network namespace: Docker takes whatever it reaches by loopback on trust. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import type { TrustOptions } from "../../src/trust/trust.ts";
import { run } from "../lab/process.ts";

/** @param folder for the program @returns what to call with clients and options; each result by its client's name */
export async function trustIn(
  netns: string,
  folder: string,
): Promise<(clients: Client[], options: TrustOptions) => Promise<Record<string, ClientResult>>> {
  const program = join(folder, "trust.mts");
  const source = (name: string) => JSON.stringify(join(import.meta.dirname, "../../src", name));
  await writeFile(
    program,
    `import { readFileSync } from "node:fs";
    import { trust } from ${source("trust/trust.ts")};
    import { silentReporter } from ${source("reporter.ts")};
    const { clients, options } = JSON.parse(readFileSync(0, "utf8"));
    console.log(JSON.stringify(await trust(clients, options, silentReporter)));`,
  );
  return async (clients, options) => {
    const input = JSON.stringify({ clients, options });
    const words = [`--net=/run/netns/${netns}`, process.execPath, program];
    const results = JSON.parse((await run("nsenter", words, { input })).stdout) as ClientResult[];
    return Object.fromEntries(results.map((result) => [result.name, result]));
  };
}
