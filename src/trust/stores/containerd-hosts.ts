/**
 * hosts.toml, which says for one name where containerd asks for its images, in order, and with which CA.
 * https://github.com/containerd/containerd/blob/main/docs/hosts.md
 *
 * `ca` stands at the top, for the server, and in each [host]: without a [host] containerd 1.6 reads nothing of it.
 */
import { isMarked } from "./mark.ts";
import { editToml, firstHeaderIndex, headerIndex, isTable, marked, parseToml, tableAt } from "./toml.ts";

export interface MirrorHost {
  /** HOST[:PORT] */
  name: string;
  /** the file with its CA */
  ca: string;
}

/** For the registry itself. */
export function registryHosts({ name, ca }: MirrorHost): string {
  return [
    `server = "https://${name}"`,
    `ca = "${ca}"`,
    "",
    `[host."https://${name}"]`,
    '  capabilities = ["pull", "resolve", "push"]',
    `  ca = "${ca}"`,
    "",
  ].join("\n");
}

/**
 * Somebody else's hosts.toml for the registry's own name: the CA is named where none is.
 * @returns undefined where that can't be done: another CA is named, or it can't be read
 */
export function withAuthority(text: string, { name, ca }: MirrorHost): string | undefined {
  const table = parseToml(text);
  const own = tableAt(table, "host", `https://${name}`);
  if (table === undefined || ![table, own].every((each) => each?.ca === undefined || each.ca === ca)) {
    return undefined;
  }
  return editToml(
    text,
    (lines) => {
      const line = `ca = "${ca}"`;
      if (own?.ca === undefined && own !== undefined) {
        lines.splice(headerIndex(lines, "host", `https://${name}`) + 1, 0, marked(`  ${line}`, name));
      }
      if (table.ca === undefined) lines.splice(firstHeaderIndex(lines), 0, marked(line, name));
    },
    (expected) => {
      expected.ca = ca;
      const host = tableAt(expected, "host", `https://${name}`);
      if (host !== undefined) host.ca = ca;
    },
  );
}

/** Docker Hub's images are named docker.io/…, its registry is another host. */
function serverOf(upstream: string): string {
  return upstream === "docker.io" ? "registry-1.docker.io" : upstream;
}

/** For an upstream: these first, then itself. */
export function upstreamHosts(upstream: string, mirrors: readonly MirrorHost[]): string {
  return [
    `server = "https://${serverOf(upstream)}"`,
    ...mirrors.flatMap((mirror) => ["", ...hostTable(mirror)]),
    "",
  ].join("\n");
}

function hostTable({ name, ca }: MirrorHost): string[] {
  return [`[host."https://${name}"]`, '  capabilities = ["pull", "resolve"]', `  ca = "${ca}"`];
}

/** The mirrors in a hosts.toml of ours, in order. */
export function mirrorsIn(text: string | undefined): MirrorHost[] {
  if (!isMarked(text)) return [];
  return Object.entries(tableAt(parseToml(text ?? ""), "host") ?? {}).map(([url, host]) => ({
    name: url.replace(/^https:\/\//, ""),
    ca: isTable(host) ? String(host.ca) : "",
  }));
}

/**
 * Somebody else's hosts.toml for an upstream: our mirrors before what is there.
 * @returns undefined where that can't be done
 */
export function withMirrors(text: string, mirrors: readonly MirrorHost[]): string | undefined {
  const hosts = Object.keys(tableAt(parseToml(text), "host") ?? {});
  const missing = mirrors.filter(({ name }) => !hosts.includes(`https://${name}`));
  return editToml(
    text,
    (lines) => {
      const added = missing.flatMap((mirror) => hostTable(mirror).map((line) => marked(line, mirror.name)));
      lines.splice(firstHeaderIndex(lines), 0, ...added);
    },
    (expected) => {
      expected.host ??= {};
      const host = tableAt(expected, "host") ?? {};
      for (const { name, ca } of missing) host[`https://${name}`] = { capabilities: ["pull", "resolve"], ca };
    },
  );
}
