/**
 * Which clients failed when they were last worked on, for --retry: their names, and nothing else. With the site that
 * is clients.json in its directory; where there is none, or it is not for this user to write, the user's state.
 */
import { access, constants } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { DrydockError } from "../errors.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import { jsonText, readBytesIfThere, readJson } from "../site/json-file.ts";
import { findSite } from "../site/record.ts";
import type { Client, ClientResult } from "./client.ts";

/** @param site the site's directory, if given */
export async function lastRunFile(
  site?: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const { root, marker, clients } = await findSite(site);
  try {
    await access(marker, constants.R_OK);
    await access(root, constants.W_OK);
    return clients;
  } catch {
    // There is no site of drydock's, or it is somebody else's.
  }
  // XDG base directory specification
  const given = environment.XDG_STATE_HOME;
  const state =
    given !== undefined && isAbsolute(given) ? given : join(environment.HOME || homedir(), ".local/state");
  return join(state, "drydock", "clients.json");
}

/**
 * Those of the clients that failed, and the names of others that did.
 * @throws DrydockError "input" if no run is remembered
 */
export async function failedOf(
  file: string,
  clients: readonly Client[],
): Promise<{ clients: Client[]; others: string[] }> {
  const failed = await readFailed(file);
  if (failed === undefined) {
    throw new DrydockError("input", `read "${file}": no run is remembered there`, {
      hint: "Run it without --retry first.",
    });
  }
  const listed = new Set(clients.map(({ name }) => name));
  return {
    clients: clients.filter(({ name }) => failed.has(name)),
    others: [...failed].filter((name) => !listed.has(name)),
  };
}

/**
 * @param isAll these are all clients that there are; else what is remembered of others stays
 * @throws DrydockError "host" if it can't be written
 */
export async function rememberFailed(
  file: string,
  results: readonly ClientResult[],
  isAll: boolean,
): Promise<void> {
  const failed = new Set(isAll ? [] : await readFailed(file));
  for (const { name, status } of results) {
    if (status === "ok" || status === "changed") failed.delete(name);
    else failed.add(name);
  }
  const text = jsonText({ failed: [...failed].sort() });
  if ((await readBytesIfThere(file))?.toString("utf8") === text) return;
  await makeFolder(dirname(file), { mode: 0o700 });
  await writeDurably(file, text, { mode: 0o600 });
}

async function readFailed(file: string): Promise<Set<string> | undefined> {
  const record = await readJson(file);
  if (record === undefined) return undefined;
  const { failed } = Object(record) as { failed?: unknown };
  if (Array.isArray(failed) && failed.every((name) => typeof name === "string")) return new Set(failed);
  throw new DrydockError("host", `read "${file}": wanted {"failed": [names]}`, { hint: "Remove it." });
}
