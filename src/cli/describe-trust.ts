/** What `trust --dry-run` understood, as text for people. */
import { hostPort } from "../trust/address.ts";
import type { Hop } from "../trust/client.ts";
import type { PlannedClient, TrustPlan } from "../trust/dry-run.ts";
import { columns, count, formatBytes, printable } from "./format.ts";

/** @param remove whether it is to be taken away */
export function describeTrustPlan({ clients, names, stores, packages }: TrustPlan, remove = false): string {
  const head = ["name", "address", "user", "by", "repo_host"];
  const rows = clients.map((client) => [
    client.name,
    addressOf(client),
    client.user ?? "",
    wayTo(client),
    client.repoHost ?? "",
  ]);
  // A column that says nothing about anybody is left out.
  const isUsed = head.map((_, index) => index < 2 || rows.some((row) => row[index] !== ""));
  const table = columns([head, ...rows].map((row) => row.filter((_, index) => isUsed[index])));
  const would =
    names === undefined || stores === undefined
      ? "Where is not known: no registry is installed on this host. Name its directory with --site."
      : describeFiles(names, stores, remove);
  const sum = `${count(clients.length, "client")}. Nobody was connected to, and nothing was written.`;
  return printable([table, would, ...packagesText(packages), sum].join("\n\n"), true);
}

/** A line for each kind of file, with NAME where each of the registry's names stands. */
function describeFiles(names: string[], stores: NonNullable<TrustPlan["stores"]>, remove: boolean): string {
  const rows = stores.flatMap(({ name: store, files }) => {
    const short = files.map((file) =>
      names.reduce((path, name) => path.replace(`/${name}/`, "/NAME/"), file),
    );
    return [...new Set(short)].map((file, index) => [index === 0 ? store : "", file]);
  });
  const head = remove
    ? "On each of them this would be taken away, where drydock put it there:"
    : "On each of them this would be written for the runtimes that it has, where it isn't there already:";
  return `${head}\n${columns(rows, { indent: 2 })}\nNAME is ${names.join(", ")}.`;
}

function packagesText(packages: TrustPlan["packages"]): string[] {
  if (packages === undefined) return [];
  const rows = packages.map(({ hosts, files, size }) => [hosts, count(files, "file"), formatBytes(size)]);
  return [`Docker would be installed where it is missing, on\n${columns(rows, { indent: 2 })}`];
}

function addressOf({ local, ...client }: PlannedClient): string {
  return local ? "this host" : placeOf(client);
}

function placeOf({ host, port }: Hop): string {
  return port === undefined ? host : hostPort(host, port);
}

function wayTo({ jumps = [], proxyProgram }: PlannedClient): string {
  if (proxyProgram !== undefined) return `command: ${proxyProgram} …`;
  return jumps.map((hop) => `${hop.user === undefined ? "" : `${hop.user}@`}${placeOf(hop)}`).join(", ");
}
