/** `trust` from within a network namespace: Docker takes whatever it reaches by loopback on trust. */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import type { TrustOptions } from "../../src/trust/trust.ts";

export type TrustIn = (
  clients: Client[],
  options: TrustOptions,
  verb?: "trust" | "removeTrust",
) => Promise<Record<string, ClientResult>>;

/**
 * One program that does all of it, one after the other; it ends with us.
 * @param folder for the program @returns what to call with clients and options; each result by its client's name
 */
export async function trustIn(netns: string, folder: string): Promise<TrustIn> {
  const program = join(folder, "trust.mts");
  const source = (name: string) => JSON.stringify(join(import.meta.dirname, "../../src", name));
  await writeFile(
    program,
    `import { createInterface } from "node:readline";
    import * as verbs from ${source("trust/trust.ts")};
    import { silentReporter } from ${source("reporter.ts")};
    for await (const line of createInterface(process.stdin)) {
      const { clients, options, verb } = JSON.parse(line);
      const told = await verbs[verb](clients, options, silentReporter).catch((error) => error.stack);
      console.log(JSON.stringify(told));
    }`,
  );
  const words = ["--pdeathsig", "KILL", "nsenter", `--net=/run/netns/${netns}`, process.execPath, program];
  const child = spawn("setpriv", words, { stdio: ["pipe", "pipe", "inherit"] });
  child.unref();
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return async (clients, options, verb = "trust") => {
    child.stdin.write(`${JSON.stringify({ clients, options, verb })}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw new Error("the program in the namespace has ended");
    const results = JSON.parse(value) as ClientResult[] | string;
    if (typeof results === "string") throw new Error(results);
    return Object.fromEntries(results.map((result) => [result.name, result]));
  };
}
