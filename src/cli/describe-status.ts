/** What `status` found, on one screen. */
import { styleText } from "node:util";
import type { ReleaseStatus, SiteStatus } from "../install/status.ts";
import { shortDigest } from "../oci/digest.ts";
import { columns, count, formatBytes, printable } from "./format.ts";
import { commandLines, wrapped, wrappedLines } from "./wrapped.ts";

export interface DescribeOptions {
  color: boolean;
  /** of the terminal, to break lines between words; without it they are as long as they are */
  width?: number | undefined;
  now?: Date;
}

/** More releases are cut at the beginning; --json lists all. */
const releasesShown = 5;

export function describeStatus(status: SiteStatus, options: DescribeOptions): string {
  const now = options.now ?? new Date();
  const { release, releases } = status;
  const head = `${status.address}: ${release.name}, release ${release.release}`;
  return [
    head,
    facts(status, now, options.width),
    ...(releases.length > 1 ? [releaseTable(releases)] : []),
    verdict(status, options),
  ].join("\n\n");
}

function facts(status: SiteStatus, now: Date, width: number | undefined): string {
  const { storage, certificates } = status;
  const access = status.access === "push" ? "takes pushes" : "read-only";
  const rows = [
    ["site", status.site],
    ["addresses", `${status.addresses.join(", ")}; port ${status.port}, ${access}`],
    ["installed", `${date(status.release.installedAt)}, digest ${shortDigest(status.release.bundleDigest)}`],
    ...(status.adopted === undefined ? [] : [["adopted", adoptedText(status.adopted)]]),
    ["images", imagesText(status)],
    ["storage", storageText(storage)],
    ["certificates", certificatesText(certificates, now)],
    ["engine", engineText(status)],
    ["container", containerText(status)],
    ["last proof", proofText(status)],
  ];
  return hanging(rows, width);
}

/** Two columns; what is too long for its line goes on below its beginning. */
function hanging(rows: string[][], width: number | undefined): string {
  const first = Math.max(...rows.map(([label = ""]) => label.length)) + 2;
  return rows
    .map(([label = "", value = ""]) => label.padEnd(first) + wrapped(printable(value), width, first))
    .join("\n");
}

function adoptedText({ at, container, returningSince }: NonNullable<SiteStatus["adopted"]>): string {
  const kept = container === undefined ? "" : `; the container from before is kept as "${container}"`;
  const returning = returningSince === undefined ? "" : "; giving it back was cut short: `drydock rollback`";
  return `${date(at)}${kept}${returning}`;
}

function imagesText({ images, release, releases }: SiteStatus): string {
  const others = releases.filter(({ rolledBackAt }) => rolledBackAt === undefined).length > 1;
  return others ? `${count(images, "tag")}, ${release.images} of them this release's` : count(images, "tag");
}

function storageText({ blobs, bytes, free, size, checked, damaged }: SiteStatus["storage"]): string {
  const state =
    damaged.length > 0
      ? `${damaged.length} damaged`
      : checked === "digests"
        ? "all read and hashed"
        : "all there";
  const space =
    free === undefined || size === undefined ? "" : `; ${formatBytes(free)} of ${formatBytes(size)} free`;
  return `${formatBytes(bytes)} in ${count(blobs, "blob")}, ${state}${space}`;
}

function certificatesText({ server, ca }: SiteStatus["certificates"], now: Date): string {
  if (server === undefined || ca === undefined) return "not to be read";
  return `server ${untilText(server.notAfter, now)}, CA ${untilText(ca.notAfter, now)}`;
}

function untilText(end: Date, now: Date): string {
  const days = Math.floor((end.getTime() - now.getTime()) / 86_400_000);
  const day = end.toISOString().slice(0, 10);
  return days < 0 ? `ended on ${day}` : `until ${day} (${count(days, "day")})`;
}

function engineText({ engine }: SiteStatus): string {
  if (engine.answers) return `${engine.version}, ${engine.platform}`;
  return `${engine.address} does not answer us`;
}

function containerText({ container }: SiteStatus): string {
  const { name, state, since } = container;
  return since === undefined ? `"${name}" ${stateWords[state]}` : `"${name}" runs since ${date(since)}`;
}

const stateWords: Record<SiteStatus["container"]["state"], string> = {
  running: "runs",
  paused: "is paused",
  restarting: "ends again and again",
  stopped: "is stopped",
  missing: "is missing",
  "not ours": "is not drydock's",
  unknown: "could not be looked at",
};

function proofText({ lastProof }: SiteStatus): string {
  if (lastProof === undefined) return "none is recorded";
  const { at, tags, pulled } = lastProof;
  const blobs = pulled === undefined ? "" : `, ${count(pulled.blobs, "blob")} pulled and hashed`;
  return `${date(at)}: ${count(tags, "tag")}${blobs}`;
}

function releaseTable(releases: readonly ReleaseStatus[]): string {
  const shown = releases.slice(-releasesShown).reverse();
  const rows = shown.map((one) => [
    one.current ? "*" : "",
    printable(`${one.name} ${one.release}`),
    date(one.installedAt),
    count(one.images, "tag"),
    shortDigest(one.bundleDigest),
    one.current ? "current" : one.rolledBackAt === undefined ? "" : "rolled back",
  ]);
  const more = releases.length - shown.length;
  return `releases\n${columns(rows, { right: [3] })}${more > 0 ? `\n   and ${more} older` : ""}`;
}

function verdict({ findings, healthy }: SiteStatus, { color, width }: DescribeOptions): string {
  const paint = (style: "red" | "yellow" | "green", text: string) =>
    color ? styleText(style, text, { validateStream: false }) : text;
  const told = findings.filter(({ level }) => level !== "ok");
  if (told.length === 0) return paint("green", "All is well.");
  const blocks = told.map(({ check, level, text, hint }) => {
    const label = level === "error" ? paint("red", "Wrong:") : paint("yellow", "Look at:");
    const lines = printable(hint ?? "", true)
      .split("\n")
      .filter((line) => line !== "");
    return [
      wrappedLines(`${label} ${check}: ${printable(text, true)}`, width),
      ...lines.map((line) => hintText(line, width)),
    ].join("\n");
  });
  return [...blocks, ...(healthy ? [paint("green", "The registry serves as it should.")] : [])].join("\n\n");
}

/** A line that is a command alone stands as it is to be typed. */
function hintText(line: string, width: number | undefined): string {
  const command = /^\s*`([^`]+)`$/.exec(line)?.[1];
  return command === undefined ? wrappedLines(`  ${line}`, width) : commandLines(command, width).join("\n");
}

/** "2026-11-23 18:26 UTC" */
function date(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
}
