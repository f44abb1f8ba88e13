/**
 * What names hosts in an inventory: `web[01:50].lan`, `db-[a:f]`, `10.0.0.[1:9:2]:2222`, `[fd00::1]:22`.
 * https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html#adding-ranges-of-hosts
 */
import { isIP } from "node:net";
import { DrydockError } from "../../errors.ts";

/** More than anybody has; a slip in a range makes more. */
const mostHosts = 100_000;

const range = String.raw`\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]`;
const label = String.raw`(?:[\p{L}\p{N}_]|${range})(?:[\p{L}\p{N}_-]|${range})*(?<![_-])`;
const hostName = new RegExp(`^${label}(?:\\.${label})*$`, "iu");

/**
 * @param where "file:line", for the error
 * @returns the names, and the port behind them
 * @throws DrydockError "input"
 */
export function expandHosts(pattern: string, where: string): { names: string[]; port?: number } {
  const { host, port } = splitPort(pattern);
  const names = [...expand(host, (what) => badRange(pattern, what, where))];
  return port === undefined ? { names } : { names, port };
}

/** Whether it is one host or one range of hosts, with or without a port: so a colon in it separates nothing. */
export function isHostPattern(text: string): boolean {
  return isHost(text) || splitPort(text).port !== undefined;
}

function splitPort(pattern: string): { host: string; port?: number } {
  const [, host, port] =
    /^\[(.+)\]:([0-9]+)$/.exec(pattern) ?? /^((?:[^:[\]]|\[[^\]]*\])*):([0-9]+)$/.exec(pattern) ?? [];
  return host !== undefined && isHost(host) ? { host, port: Number(port) } : { host: pattern };
}

function isHost(text: string): boolean {
  if (isIP(text) !== 0 || hostName.test(text)) return true;
  return /^[0-9a-f]*:(?:[0-9a-f:.]|\[[0-9a-f]+:[0-9a-f]+(?::[0-9]+)?\])+$/i.test(text);
}

function* expand(pattern: string, fault: (what: string) => DrydockError): Generator<string> {
  let names = [pattern];
  while (names[0]?.includes("[")) {
    const next: string[] = [];
    for (const name of names) {
      const [, head = "", inside, tail = ""] = /^([^[]*)\[([^\]]*)\](.*)$/.exec(name) ?? [];
      if (inside === undefined) throw fault("a bracket is not closed");
      for (const part of sequence(inside, fault)) {
        next.push(`${head}${part}${tail}`);
        if (next.length > mostHosts) throw fault(`more than ${mostHosts} hosts`);
      }
    }
    names = next;
  }
  yield* names;
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** "01:50", "a:f", "1:10:2": both ends are part of it. */
function* sequence(text: string, fault: (what: string) => DrydockError): Generator<string> {
  const parts = text.split(":");
  if (parts.length < 2 || parts.length > 3) throw fault("wanted [begin:end] or [begin:end:step]");
  const [first, last = "", by = "1"] = parts;
  const begin = first === "" || first === undefined ? "0" : first;
  const step = /^\d+$/.test(by) ? Number(by) : 0;
  if (last === "") throw fault("the range has no end");
  if (step < 1) throw fault("the step is no number from 1");
  const isPadded = begin.length > 1 && begin.startsWith("0");
  if (isPadded && begin.length !== last.length) throw fault("begin and end are not of the same length");
  const isLetters =
    begin.length === 1 && last.length === 1 && letters.includes(begin) && letters.includes(last);
  if (!isLetters && !(/^\d{1,15}$/.test(begin) && /^\d{1,15}$/.test(last)))
    throw fault("begin and end are neither two numbers nor two letters");
  const [from, to] = isLetters
    ? [letters.indexOf(begin), letters.indexOf(last)]
    : [Number(begin), Number(last)];
  if (from > to) throw fault("begin is after end");
  for (let at = from; at <= to; at += step)
    yield isLetters ? letters.charAt(at) : String(at).padStart(isPadded ? begin.length : 0, "0");
}

function badRange(pattern: string, what: string, where: string): DrydockError {
  const hint = /^\[[0-9a-f:.]*::?[0-9a-f:.]*\]$/i.test(pattern)
    ? "An IPv6 address has brackets only before a port: fd00::1, or [fd00::1]:22."
    : undefined;
  return new DrydockError("input", `${where}: hosts ${JSON.stringify(pattern)}: ${what}`, { hint });
}
