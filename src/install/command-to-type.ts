/**
 * The command that was typed, with other flags: so that a hint is a sentence that can be typed as it is,
 * with the bundle's path and all else as it was given.
 */
import { shellWords } from "../shell-words.ts";

export interface FlagChanges {
  /** instead of every --address */
  addresses?: readonly string[];
  /** instead of --port */
  port?: number;
  newCertificates?: true;
  adopt?: true;
  allowDowngrade?: true;
  /** instead of --access */
  access?: "read-only" | "push";
  /** instead of --site */
  site?: string;
}

/**
 * @param typed the program, the command and its words, as they were typed; --dry-run is left out
 * @returns one line for a POSIX shell
 */
export function commandToType(typed: readonly string[], changes: FlagChanges): string {
  const { addresses, port, newCertificates, adopt, allowDowngrade, access, site } = changes;
  const dropped = new Set(["--dry-run"]);
  const added: string[] = [];
  if (addresses !== undefined) {
    dropped.add("--address");
    added.push(...addresses.flatMap((address) => ["--address", address]));
  }
  if (port !== undefined) {
    dropped.add("--port");
    added.push("--port", String(port));
  }
  if (newCertificates) {
    dropped.add("--new-certs");
    added.push("--new-certs");
  }
  if (adopt) {
    dropped.add("--adopt");
    added.push("--adopt");
  }
  if (allowDowngrade) {
    dropped.add("--allow-downgrade");
    added.push("--allow-downgrade");
  }
  if (access !== undefined) {
    dropped.add("--access");
    added.push("--access", access);
  }
  if (site !== undefined) {
    dropped.add("--site");
    added.push("--site", site);
  }
  // What follows "--" is no flag.
  const end = typed.indexOf("--");
  const flags = without(end === -1 ? typed : typed.slice(0, end), dropped);
  const others = end === -1 ? [] : typed.slice(end);
  return shellWords([...flags, ...added, ...others]);
}

/** The words that name the site's directory, where some were typed: for another command about the same site. */
export function siteWords(typed: readonly string[]): string[] {
  const end = typed.indexOf("--");
  const flags = end === -1 ? typed : typed.slice(0, end);
  const at = flags.findLastIndex((word) => word === "--site" || word.startsWith("--site="));
  return at === -1 ? [] : flags.slice(at, at + (flags[at] === "--site" ? 2 : 1));
}

const withValue = new Set(["--address", "--port", "--access", "--site"]);

/** The words without some flags: `--flag`, `--flag VALUE` or `--flag=VALUE`. */
function without(words: readonly string[], flags: Set<string>): string[] {
  const left: string[] = [];
  let skip = false;
  for (const word of words) {
    const [flag = word] = word.split("=");
    if (skip) skip = false;
    else if (flags.has(flag)) skip = withValue.has(flag) && flag === word;
    else left.push(word);
  }
  return left;
}
