/** What `trust --dry-run` understood, as text for people. */
import { hostPort } from "../trust/address.ts";
import type { Hop } from "../trust/client.ts";
import type { PlannedClient, TrustPlan } from "../trust/dry-run.ts";
import { certificateFile } from "../trust/places.ts";
import { columns, count, printable } from "./format.ts";

export function describeTrustPlan({ clients, directories }: TrustPlan): string {
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
  const files = directories?.map((directory) => `  ${directory}/${certificateFile}`).join("\n");
  const would =
    files === undefined
      ? "Where is not known: no registry is installed on this host. Name its directory with --site."
      : `On each of them this would be written, where it isn't there already:\n${files}`;
  const sum = `${count(clients.length, "client")}. Nobody was connected to, and nothing was written.`;
  return printable([table, would, sum].join("\n\n"), true);
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
