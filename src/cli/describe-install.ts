/** What `install` did, or would do, as text for people. */
import type { InstallPlan, TagMove } from "../install/dry-run.ts";
import type { InstallResult } from "../install/install.ts";
import { shortDigest } from "../oci/digest.ts";
import type { ClientResult } from "../trust/client.ts";
import { columns, count, formatBytes, printable } from "./format.ts";

export function describeInstall({
  index,
  changed,
  placed,
  tagsMoved,
  container,
  adopted,
  certificates,
  proof,
  receipt,
  site,
  settings,
}: InstallResult): string {
  const { name, release } = index;
  const { addresses, port } = settings;
  const head = changed
    ? `${name}, release ${release}, is installed`
    : `Nothing to do: ${name}, release ${release}, was installed`;
  const done = [
    `placed ${count(placed.blobs, "blob")} (${formatBytes(placed.bytes)}), moved ${count(tagsMoved, "tag")}`,
    `certificates: ${certificateWords[certificates]}`,
    `container "registry": ${container ?? "unchanged"}`,
    ...(adopted === undefined ? [] : ["what was here is taken over; `drydock rollback` gives it back"]),
  ];
  const names = [...new Set(proof.addresses.map(({ as }) => as))];
  return [
    `${head} at ${site}, and answers at ${url(addresses, port)}.`,
    ...(changed ? done.map((line) => `  ${line}`) : []),
    `  proven over TLS as ${names.join(", ")}; ${proofText(proof)}`,
    `  the receipt, a page to hand over: ${receipt}`,
  ].join("\n");
}

function proofText({ tags, pulled }: InstallResult["proof"]): string {
  const asked = `${count(tags, "tag")} as in the bundle`;
  if (pulled === undefined) return asked;
  return `${asked}, ${count(pulled.blobs, "blob")} pulled and hashed (${formatBytes(pulled.bytes)})`;
}

/** As people type it. */
export function url([name = "127.0.0.1"]: readonly string[], port: number): string {
  const host = name.includes(":") ? `[${name}]` : name;
  return `https://${host}${port === 443 ? "" : `:${port}`}`;
}

const certificateWords: Record<InstallResult["certificates"], string> = {
  keep: "as they were",
  take: "the bundle's",
  make: "made here; the CA's key stays here",
  renew: "a new server certificate of the CA here",
};

/** So many of the tags that move are shown. */
const tagsShown = 5;

/** @param clients undefined if none were listed */
export function describePlan(plan: InstallPlan, clients?: readonly ClientResult[]): string {
  const { site, from, to, blobs, tags, certificates, container, addresses, port, access } = plan;
  const release = `${to.name}, release ${to.release}`;
  const rows = [
    ["site", site],
    ["release", release],
    ["served now", from === undefined ? "nothing" : `${from.name}, release ${from.release}`],
    ["blobs", `${amount(blobs.total)}, of which ${amount(blobs.place)} to be placed`],
    ["tags", `${count(tags.total, "tag")}, of which ${tags.moves.length} would move`],
    ...tags.moves.slice(0, tagsShown).map((move) => ["", moveText(move)]),
    ...(tags.moves.length > tagsShown ? [["", `and ${tags.moves.length - tagsShown} more`]] : []),
    ["certificates", certificateWords[certificates]],
    ["container", container ?? "not known: the engine doesn't say"],
    ["address", `${url(addresses, port)}, ${access}`],
    ["names", addresses.join(", ")],
    ...(clients === undefined ? [] : [["clients", clientsText(clients)]]),
  ];
  return printable(`${columns(rows)}\n\nNothing was written.`, true);
}

function amount({ blobs, bytes }: { blobs: number; bytes: number }): string {
  return `${count(blobs, "blob")} (${formatBytes(bytes)})`;
}

function moveText({ repository, tag, from, to }: TagMove): string {
  const before = from === undefined ? "new" : `now ${shortDigest(from)}`;
  return `${repository}:${tag}: ${before}, would name ${shortDigest(to)}`;
}

function clientsText(clients: readonly ClientResult[]): string {
  const ready = clients.filter(({ status }) => status === "ok").length;
  const rest = clients.length - ready;
  return `${ready} ready for the CA${rest > 0 ? `, ${rest} not` : ""}`;
}
