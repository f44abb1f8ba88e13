/** What came of the clients, for people: who trusts the CA, how it is proven, and who needs what. */
import type { Finding } from "../install/finding.ts";
import type { ClientResult, ClientStatus, ProofKind } from "../trust/client.ts";
import { fittedTable } from "./fitted-table.ts";
import { columns, count, printable } from "./format.ts";
import { hostNames } from "./host-names.ts";
import { wrapped } from "./wrapped.ts";

/** So many have a line each; more are told of by what they have in common. */
const mostLines = 24;

/** A client that got the CA, or had it; its proof is another matter. */
export function isDone({ status }: Pick<ClientResult, "status">): boolean {
  return status === "ok" || status === "changed";
}

const provenBy: Record<ProofKind, string> = {
  tls: "over TLS",
  engine: "by its Docker engine",
  pull: "by a pull",
};

interface ReportOptions {
  /** of the terminal, where there is one */
  width?: number | undefined;
  /** the command that works on those that failed once more */
  again?: string | undefined;
  /** the trust was to be taken away */
  remove?: boolean | undefined;
}

/** Who is done and how it is proven; then reasons with hints; then a line that sums up. */
export function clientReport(hosts: readonly ClientResult[], options: ReportOptions = {}): string {
  const { width, again, remove = false } = options;
  const few = hosts.length <= mostLines;
  const failed = hosts.filter((host) => !isDone(host)).length;
  const sum = `${sumOf(hosts, remove)}${failed > 0 ? `, ${failed} failed` : ""}`;
  const parts = [
    few ? linesFor(hosts, remove, width) : countsFor(hosts, remove, width),
    ...installedOn(hosts).map((text) => indented([text], width)),
    ...(few ? reasonsOf(hosts) : troublesOf(hosts, remove)).map((texts) => indented(texts, width)),
    failed > 0 && again !== undefined ? `${sum}\n${wrapped(`To try those again: \`${again}\``, width)}` : sum,
  ];
  return printable(parts.filter((part) => part !== "").join("\n\n"), true);
}

function sumOf(hosts: readonly ClientResult[], remove: boolean): string {
  const withStatus = (...wanted: ClientStatus[]) =>
    hosts.filter(({ status }) => wanted.includes(status)).length;
  if (remove) return `removed from ${count(withStatus("changed"), "client")}`;
  const done = withStatus("ok", "changed");
  const proven = hosts.filter((host) => host.proven).length;
  return `${count(done, "client")} trust${done === 1 ? "s" : ""} the CA, ${proven} proven`;
}

function linesFor(hosts: readonly ClientResult[], remove: boolean, width: number | undefined): string {
  const rows = hosts.map((host) => [host.name, statusOf(host, remove), proofOf(host, remove)]);
  return fittedTable(rows, { width });
}

function statusOf({ status }: ClientResult, remove: boolean): string {
  if (!remove || !isDone({ status })) return status;
  return status === "changed" ? "removed" : "nothing there";
}

function proofOf(host: ClientResult, remove: boolean): string {
  if (remove) return "";
  if (host.proven) return `proven ${provenBy[host.proof ?? "tls"]} as ${host.provenAs}`;
  return isDone(host) ? "not proven" : "";
}

/** "212  changed  proven by its Docker engine as registry.plant7.lan" */
function countsFor(hosts: readonly ClientResult[], remove: boolean, width: number | undefined): string {
  const order: ClientStatus[] = ["changed", "ok", "unreachable", "refused", "failed"];
  const kinds = Map.groupBy(hosts, (host) =>
    JSON.stringify([order.indexOf(host.status), proofOf(host, remove)]),
  );
  const rows = [...kinds].sort(([one], [other]) => (one < other ? -1 : 1));
  const cells = rows.map(([, [first, ...more]]) => {
    if (first === undefined) throw new Error("an empty group");
    return [String(more.length + 1), statusOf(first, remove), proofOf(first, remove)];
  });
  const table = columns(cells, { right: [0] });
  return table
    .split("\n")
    .map((line) => wrapped(line, width, 4))
    .join("\n");
}

/** "web-04, web-07 to web-12: Docker 28.5.1 was installed, 13 packages" */
function installedOn(hosts: readonly ClientResult[]): string[] {
  const same = Map.groupBy(
    hosts.filter(({ installed }) => installed !== undefined),
    ({ installed }) =>
      `Docker ${installed?.engine} was installed, ${count(installed?.packages.length ?? 0, "package")}`,
  );
  return [...same].map(([what, group]) => `${hostNames(group.map(({ name }) => name))}: ${what}`);
}

/** "old: permission denied", with its hint below; those who have the very same stand together. */
function reasonsOf(hosts: readonly ClientResult[]): string[][] {
  const same = Map.groupBy(
    hosts.filter(({ reason }) => reason !== undefined),
    ({ reason, hint }) => JSON.stringify([reason, hint]),
  );
  return [...same.values()].map(([first, ...others]) => {
    const names = hostNames([first, ...others].flatMap((host) => host?.name ?? []));
    return [`${names}: ${first?.reason}`, ...hintOf(first)];
  });
}

/** "12 refused: web-04, web-07 to web-12", and below what they have, or one of them for all, with its hint. */
function troublesOf(hosts: readonly ClientResult[], remove: boolean): string[][] {
  return sameTroubles(hosts).map(({ names, example, differ }) => {
    const isBare = !remove && isDone(example) && !example.proven;
    const status = `${statusOf(example, remove)}${isBare ? ", not proven" : ""}`;
    const whose = differ ? `for example ${example.name}: ` : "";
    return [
      `${names.length} ${status}: ${hostNames(names)}`,
      `${whose}${example.reason}`,
      ...hintOf(example),
    ];
  });
}

interface Trouble {
  names: string[];
  example: ClientResult;
  /** the others' words are not the very same */
  differ: boolean;
}

/** Those of one kind together, the largest group first. */
function sameTroubles(hosts: readonly ClientResult[]): Trouble[] {
  const alike = Map.groupBy(
    hosts.filter((host) => host.reason !== undefined || !isDone(host)),
    (host) => JSON.stringify([host.status, host.proven, kindOf(host, host.reason), kindOf(host, host.hint)]),
  );
  return [...alike.values()]
    .flatMap((group) => {
      const [example] = group;
      if (example === undefined) return [];
      const differ = group.some(({ reason, hint }) => reason !== example.reason || hint !== example.hint);
      return [{ names: group.map(({ name }) => name), example, differ }];
    })
    .sort((one, other) => other.names.length - one.names.length);
}

/** What is left of a text without what is of one host alone: its name, addresses, ports, fingerprints, times. */
function kindOf({ name }: ClientResult, text = ""): string {
  return text.replaceAll(name, "#").replace(/SHA256:\S+|[^\s'"(),;]*\d[^\s'"(),;]*/g, "#");
}

/** What is to be done may be several things, a line each. */
function hintOf({ hint }: Pick<ClientResult, "hint"> = {}): string[] {
  return hint === undefined ? [] : [hint];
}

/** Each text further in than the one before. */
function indented(texts: readonly string[], width: number | undefined): string {
  return texts
    .map((text, at) => `${"  ".repeat(at)}${wrapped(text, width, at * 2 + (at === 0 ? 2 : 0))}`)
    .join("\n");
}

/**
 * What a look at the clients found, for preflight's table. One that can't be worked on doesn't keep the site
 * from being installed; if none can, whatever is wrong is wrong here.
 */
export function clientFindings(hosts: readonly ClientResult[]): Finding[] {
  const bad = hosts.filter((host) => !isDone(host));
  const ready = hosts.length - bad.length;
  const level = ready === 0 ? "error" : "warning";
  const text = `${ready} of ${hosts.length} can be logged in to, with root's rights`;
  const troubles = bad.length <= mostLines ? bad.map(oneByOne) : sameTroubles(bad);
  return [
    ...(ready === 0 ? [] : [{ check: "clients", level: "ok", text } as const]),
    ...troubles.map(({ names, example, differ }) => {
      const { reason, status, hint } = example;
      const whose = differ ? `, for example ${example.name}` : "";
      const said = {
        check: "clients",
        level,
        text: `${hostNames(names)}${whose}: ${reason ?? status}`,
      } as const;
      return hint === undefined ? said : { ...said, hint };
    }),
  ];
}

function oneByOne(example: ClientResult): Trouble {
  return { names: [example.name], example, differ: false };
}
