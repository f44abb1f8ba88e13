/**
 * `--limit`: which hosts of an inventory are meant. Patterns are Ansible's: names of groups and hosts, wildcards,
 * `~` before a regular expression, `web[0:2]` for a part of a group; several with commas or colons between,
 * `&` for what must be in it as well, `!` for what must not.
 * https://docs.ansible.com/ansible/latest/inventory_guide/intro_patterns.html
 */
import { nearest } from "../../did-you-mean.ts";
import { DrydockError } from "../../errors.ts";
import { isHostPattern } from "./host-pattern.ts";
import type { Host, Inventory } from "./hosts-and-groups.ts";

/**
 * @returns the hosts in the inventory's order
 * @throws DrydockError "input" if a pattern names nothing (Ansible goes on, and `!tpyo` leaves nobody out), or
 * all of them together leave nobody
 */
export function limitHosts(inventory: Inventory, limit: string): Host[] {
  const patterns = split(limit);
  const plain = patterns.filter((pattern) => !/^[&!]/.test(pattern));
  const hosts = new Set<Host>();
  for (const pattern of plain.length === 0 ? ["all"] : plain)
    for (const host of match(inventory, pattern, limit)) hosts.add(host);
  for (const sign of ["&", "!"]) {
    for (const pattern of patterns.filter((text) => text.startsWith(sign))) {
      const matched = new Set(match(inventory, pattern.slice(1), limit));
      for (const host of hosts) if (matched.has(host) === (sign === "!")) hosts.delete(host);
    }
  }
  if (hosts.size === 0) throw fault(limit, "leaves no host");
  return inventory.hostsIn(inventory.all).filter((host) => hosts.has(host));
}

function fault(limit: string, what: string, hint?: string): DrydockError {
  return new DrydockError("input", `--limit ${JSON.stringify(limit)}: ${what}`, { hint });
}

/** At commas; without one at colons, unless it is one host: `fd00::1`, `web[1:3]`. */
function split(limit: string): string[] {
  const parts = limit.includes(",")
    ? limit.split(",")
    : isHostPattern(limit)
      ? [limit]
      : (limit.match(/(?:[^\s:[\]]|\[[^\]]*\])+/g) ?? []);
  const patterns = parts.map((part) => part.trim()).filter((part) => part !== "");
  if (patterns.length === 0) throw fault(limit, "names nothing");
  const file = patterns.find((pattern) => pattern.startsWith("@"));
  if (file !== undefined)
    throw fault(limit, `${JSON.stringify(file)}: files are not read`, "Write out the hosts.");
  return patterns;
}

function match(inventory: Inventory, pattern: string, limit: string): Host[] {
  const named = inventory.hosts.get(pattern);
  if (named !== undefined) return [named];
  const [, base, index, from, to] = pattern.startsWith("~")
    ? []
    : (/^(.+)\[(?:(-?\d+)|(\d+)[:-](\d*))\]$/.exec(pattern) ?? []);
  const { hosts, isKnown } = enumerate(inventory, base ?? pattern, limit);
  if (!isKnown) {
    const near = nearest(pattern, [...inventory.groups.keys(), ...inventory.hosts.keys()]);
    const hint =
      limit.includes(",") && pattern.includes(":")
        ? "Where there are commas, colons separate nothing."
        : near && `Did you mean ${JSON.stringify(near)}?`;
    throw fault(limit, `${JSON.stringify(pattern)} is no group and no host of the inventory`, hint);
  }
  if (base === undefined || hosts.length === 0) return hosts;
  const part = slice(hosts, index, from, to);
  if (part.length > 0) return part;
  throw fault(limit, `${JSON.stringify(pattern)}: there are only ${hosts.length} hosts, the first is [0]`);
}

/** Both ends are part of it; [-1] is the last one, and [2:] goes up to it. */
function slice(hosts: Host[], index: string | undefined, from = "", to = ""): Host[] {
  if (index !== undefined) {
    const one = hosts.at(Number(index));
    return one === undefined ? [] : [one];
  }
  return hosts.slice(Number(from), to === "" ? undefined : Number(to) + 1);
}

/** Groups first; hosts too where no group has that name, or there is a wildcard. */
function enumerate(
  inventory: Inventory,
  pattern: string,
  limit: string,
): { hosts: Host[]; isKnown: boolean } {
  const matcher = toRegExp(pattern, limit);
  const groups = [...inventory.groups.values()].filter(({ name }) => matcher.test(name));
  const found = new Set(groups.flatMap((group) => inventory.hostsIn(group)));
  if (groups.length === 0 || pattern.startsWith("~") || /[.?*[]/.test(pattern))
    for (const host of inventory.hosts.values()) if (matcher.test(host.name)) found.add(host);
  return { hosts: [...found], isKnown: groups.length > 0 || found.size > 0 };
}

/** Python's fnmatch; after `~` its re.match, which looks at the beginning. */
function toRegExp(pattern: string, limit: string): RegExp {
  const source = pattern.startsWith("~") ? `^(?:${pattern.slice(1)})` : `^(?:${fromWildcards(pattern)})$`;
  try {
    return new RegExp(source, "su");
  } catch (error) {
    throw fault(limit, `${JSON.stringify(pattern)} is no regular expression`, String(error));
  }
}

/** `*` any text, `?` any character, `[a-c]` and `[!a-c]` one of these, or not. */
function fromWildcards(pattern: string): string {
  return pattern.replace(
    /\[(!?)(\]?[^\]]*)\]|[\s\S]/gu,
    (part, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\[\]^&|~]/g, "\\$&")}]`;
      if (part === "*") return ".*";
      if (part === "?") return ".";
      return part.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    },
  );
}
