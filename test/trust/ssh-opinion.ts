/** OpenSSH's own ssh, as a second opinion; and ways to connect as trust does. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Client } from "../../src/trust/client.ts";
import { Reach, type ReachOptions } from "../../src/trust/reach.ts";

/** Whether ssh logs in and runs a command. */
export async function sshConnects(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<boolean> {
  const options = ["BatchMode=yes", "IdentityAgent=none", "ConnectTimeout=10"];
  return await promisify(execFile)(
    "ssh",
    [...options.flatMap((option) => ["-o", option]), ...words, "true"],
    {
      env: { PATH: process.env.PATH, ...env },
    },
  ).then(
    () => true,
    () => false,
  );
}

/** Connects to each client side by side, runs `id -un` there, and closes. @returns the user's name, or what went wrong */
export async function reachAll(
  clients: readonly Client[],
  options: Partial<ReachOptions> = {},
): Promise<string[]> {
  const reach = await Reach.prepare(clients, {
    ...{ acceptNewHostKeys: false, agent: "", timeoutMs: 60_000 },
    ...options,
  });
  const one = async (client: Client): Promise<string> => {
    try {
      const connection = await reach.connect(client);
      const { stdout } = await connection.exec("id -un");
      connection.close();
      return stdout.trim();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return error.message;
    }
  };
  try {
    return await Promise.all(clients.map(one));
  } finally {
    reach.close();
  }
}

export async function reachOne(client: Client, options: Partial<ReachOptions> = {}): Promise<string> {
  const [first = "nothing"] = await reachAll([client], options);
  return first;
}
