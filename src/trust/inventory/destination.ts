/**
 * Hosts, users, ports and keys as they are handed to SSH: nothing in them can be taken for an option.
 */
import { access } from "node:fs/promises";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { DrydockError, fileErrorText } from "../../errors.ts";
import { readKeyFile } from "../key-file.ts";

export interface Destination {
  host: string;
  port?: number;
  user?: string;
}

/** Letters, digits, `.`, `_`, `-` within, or an IP address: all else would be a pattern, a port or an option. */
export function isHostName(text: string): boolean {
  return /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?$/.test(text) || isIP(text) !== 0;
}

export function isUserName(text: string): boolean {
  return /^[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*\$?$/.test(text);
}

/** @returns undefined if it is no number from 1 to 65535 */
export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

/**
 * Reads what ssh takes as a destination: `[user@]host`, here also with `:port`, or `ssh://[user@]host[:port]`.
 * IPv6 has brackets before a port.
 * @returns undefined if it is none
 */
export function parseDestination(text: string): Destination | undefined {
  const [, scheme = "", name, place = ""] = /^(ssh:\/\/)?(?:(.*)@)?([^@]*)$/.exec(text) ?? [];
  const address = scheme === "" ? place : place.replace(/\/$/, "");
  const [, bracketed, plain, digits] =
    isIP(address) === 6 ? [] : (/^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(address) ?? []);
  const host = bracketed ?? plain ?? address;
  const port = digits === undefined ? undefined : parsePort(digits);
  if (!isHostName(host) || (bracketed !== undefined && isIP(host) !== 6)) return undefined;
  if (digits !== undefined && port === undefined) return undefined;
  if (name !== undefined && !isUserName(name)) return undefined;
  return { host, ...(port === undefined ? {} : { port }), ...(name === undefined ? {} : { user: name }) };
}

/**
 * @param text `~` is the user's own folder; any other path that is not absolute is looked for in the working
 * folder, as ssh does, and then in `folder`
 * @param where begins the error
 * @returns the absolute path of a private key that can be read
 * @throws DrydockError "input"
 */
export async function findKey(text: string, folder: string, where: string): Promise<string> {
  const file = await locate(text, folder);
  const what = `${where}: key ${JSON.stringify(file)}`;
  try {
    if ((await readKeyFile(file)).state !== "no key") return file;
  } catch (error) {
    throw new DrydockError("input", `${what} can't be read: ${fileErrorText(error)}`, { cause: error });
  }
  throw new DrydockError("input", `${what} is not a private key`, {
    hint: file.endsWith(".pub") ? "This is the public half; name the file without .pub." : undefined,
  });
}

async function locate(text: string, folder: string): Promise<string> {
  if (/^~(?=\/|$)/.test(text)) return join(homedir(), text.slice(1));
  const here = resolve(text);
  const isHere = await access(here).then(
    () => true,
    () => false,
  );
  return isHere ? here : resolve(folder, text);
}
