/** What `bundle --dry-run` found, as text for people. */
import type { DryRun, PlannedImage, PlannedSeed } from "../bundle/dry-run.ts";
import { shortDigest } from "../oci/digest.ts";
import { noteRow, onOneLine, packagesTitle } from "./describe-bundle.ts";
import { fittedTable } from "./fitted-table.ts";
import { count, formatBytes, printable } from "./format.ts";

const later = "known when built";

/** @param width of the terminal, where there is one */
export function describePlan(plan: DryRun, width?: number): string {
  const { name, release, registry, images, seeds, packages, unknown, leftOut, lock } = plan;
  const table = (title: string, rows: string[][]) =>
    rows.length === 0 ? "" : `${title}\n${fittedTable(rows.map(onOneLine), { indent: 2, width })}`;
  const sections = [
    fittedTable([["name", `${name}, release ${release}`]]),
    table("the registry's own image", [imageRow(registry)]),
    table("images", images.map(imageRow)),
    table("what refers to them", images.flatMap(referrersRow)),
    table("seeds", seeds.map(seedRow)),
    table(
      packagesTitle,
      packages.map(({ hosts, count: files, size }) => [hosts, count(files, "file"), formatBytes(size)]),
    ),
    table("left out", leftOut.map(noteRow)),
    fittedTable(totals(plan), { width }),
    table("not counted above", unknown.map(noteRow)),
    lock === undefined ? "Nothing was written." : `Written: ${lock}, and nothing else.`,
  ];
  return printable(sections.filter((section) => section !== "").join("\n\n"), true);
}

function imageRow({ source, repository, tag, digest, platforms, size }: PlannedImage): string[] {
  const at = repository === undefined ? "" : `${repository}${tag === undefined ? "" : `:${tag}`}`;
  return [
    source,
    at,
    platforms.join(", "),
    digest === undefined ? "" : shortDigest(digest),
    size === undefined ? later : formatBytes(size),
  ];
}

function referrersRow({ source, referrers }: PlannedImage): string[][] {
  if (referrers === undefined) return [];
  const tags = referrers.map((tag) => tag.replace(/[0-9a-f]{64}/, (hex) => `${hex.slice(0, 12)}…`));
  return [[source, tags.length === 0 ? "nothing" : tags.join(", ")]];
}

function seedRow({ source, size, packed, unpacked }: PlannedSeed): string[] {
  const carried = packed === undefined ? "" : packed ? "carried packed" : "carried unpacked";
  return [
    source,
    size === undefined ? later : `${formatBytes(size)} packed`,
    unpacked === undefined ? `unpacked: ${later}` : `${formatBytes(unpacked)} unpacked`,
    carried,
  ];
}

function totals({ files, shared, archive, reused, site, unknown }: DryRun): string[][] {
  const more = unknown.length > 0 ? ", and what is not counted" : "";
  const parts = archive.parts === undefined ? "" : ` in ${count(archive.parts, "part")}`;
  const free = archive.free === undefined ? "" : `; ${formatBytes(archive.free)} are free there`;
  const rows = [
    [
      "bundle",
      `${count(archive.blobs, "blob")}, ${formatBytes(archive.size)} (${archive.size} bytes)${parts}${more}${free}`,
    ],
    ...(reused === undefined
      ? []
      : [["of that reused", `${count(reused.blobs, "blob")}, ${formatBytes(reused.bytes)}`]]),
    [
      "at the site",
      `${formatBytes(site.bytes)}, ${count(site.inodes, "file and folder", "files and folders")}${more}`,
    ],
  ];
  if (shared.blobs > 0)
    rows.unshift([
      "shared",
      `${count(shared.blobs, "blob")}, carried once: ${formatBytes(shared.bytes)} saved`,
    ]);
  if (files.count > 0) rows.unshift(["files", `${count(files.count, "file")}, ${formatBytes(files.size)}`]);
  return rows;
}
