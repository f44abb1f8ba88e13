/** What is inside a seed, as text for people: every tag, what it names, what that needs, what is wrong. */
import type {
  ReportedBlob,
  ReportedRepository,
  ReportedRevision,
  SeedReport,
} from "../bundle/seed-report.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { list, longestList, noteRow } from "./describe-bundle.ts";
import { fittedTable } from "./fitted-table.ts";
import { count, formatBytes, shortenDigests } from "./format.ts";
import { wrapped } from "./wrapped.ts";

/** @param width of the terminal, where there is one */
export function describeSeed(report: SeedReport, width?: number): string {
  const { repositories, orphans, damaged, files, defects, leftOut, serves } = report;
  const sections = [
    fittedTable(facts(report), { width }),
    list(
      "a site would serve",
      serves.map((name) => [shortenDigests(name)]),
      width,
    ),
    ...trees(repositories, width),
    list(
      "blobs that no image manifest needs",
      orphans.map(({ digest, size }) => [shortDigest(digest), formatBytes(size)]),
      width,
    ),
    list(
      "blobs with the content of others",
      damaged.map(({ digest, size, found }) => [
        shortDigest(digest),
        formatBytes(size),
        `has the content of ${shortDigest(found)}`,
      ]),
      width,
    ),
    list("uploads that did not end", files.uploads.map(inOneCell), width),
    list("other files of the storage", files.others.map(inOneCell), width),
    list("files outside of the storage", files.foreign.map(inOneCell), width),
    list(
      "left out",
      leftOut
        .filter((one) => !defects.some(({ what, why }) => what === one.what && why === one.why))
        .map(noteRow),
      width,
    ),
    list("damaged or missing", defects.map(noteRow), width),
    defects.length === 0
      ? ""
      : wrapped(
          "A site could not serve all of it: `bundle` takes it only with --allow-incomplete, without what is not whole.",
          width,
        ),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

/** Each repository is a list of its own, cut if it is long. */
function trees(repositories: SeedReport["repositories"], width: number | undefined): string[] {
  const all = Object.entries(repositories);
  const shown = all
    .slice(0, longestList)
    .map(([name, repository]) => list(name, repositoryRows(repository), width));
  const more = all.length - shown.length;
  return more > 0
    ? [...shown, `and ${count(more, "more repository", "more repositories")} (--json lists all)`]
    : shown;
}

function facts({ sha256, size, compression, unpacked, site, serves, repositories }: SeedReport): string[][] {
  const packing = compression === "none" ? "not compressed" : compression;
  const names = count(Object.keys(repositories).length, "repository", "repositories");
  return [
    ["sha256", sha256],
    ["packed", `${formatBytes(size)} (${size} bytes), ${packing}`],
    ["unpacked", `${formatBytes(unpacked.bytes)} in ${count(unpacked.blobs, "blob")}`],
    [
      "at a site",
      `${formatBytes(site.bytes)}, ${count(site.inodes, "file and folder", "files and folders")}`,
    ],
    ["content", `${names}, ${count(serves.length, "tag")} that a site would serve`],
  ];
}

function inOneCell(path: string): string[] {
  return [path];
}

/** Each tag with all that is below it, then the revisions without a tag. What was shown once is only named again. */
function repositoryRows({ tags, revisions }: ReportedRepository): string[][] {
  const rows: string[][] = [];
  const shown = new Map<Digest, string>();
  const show = (digest: Digest, label: string, indent: string) => {
    const revision = revisions[digest];
    const before = shown.get(digest);
    const state = revision === undefined || !revision.served ? "not served" : "";
    rows.push([`${indent}${label}`, shortDigest(digest), before ? `as ${before}` : kindOf(revision), state]);
    if (before !== undefined || revision === undefined) return;
    shown.set(digest, label);
    for (const { digest: child, platform = "no platform", served } of revision.children) {
      if (revisions[child] !== undefined) show(child, platform, `${indent}  `);
      else rows.push([`${indent}  ${platform}`, shortDigest(child), "", served ? "" : "missing"]);
    }
    if (revision.config) rows.push(blobRow("config", revision.config, indent));
    for (const layer of revision.layers) rows.push(blobRow("layer", layer, indent));
  };
  for (const [tag, digest] of Object.entries(tags)) show(digest, shortenDigests(tag), "");
  for (const digest of Object.keys(revisions) as Digest[]) {
    if (!shown.has(digest)) show(digest, "no tag", "");
  }
  return rows;
}

function kindOf(revision: ReportedRevision | undefined): string {
  return revision?.kind === "schema1" ? "schema 1" : (revision?.kind ?? "");
}

function blobRow(label: string, { digest, size, state }: ReportedBlob, indent: string): string[] {
  const shownState = state === "whole" ? "" : state === "foreign" ? "foreign, not in the seed" : state;
  return [
    `${indent}  ${label}`,
    shortDigest(digest),
    size === undefined ? "" : formatBytes(size),
    shownState,
  ];
}
