/** What is inside a bundle, as text for people: shared by `bundle` and `inspect`. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { describeMatch } from "../archive/packages.ts";
import { shortDigest } from "../oci/digest.ts";
import { fittedTable } from "./fitted-table.ts";
import { count, formatBytes, printable, shortenDigests } from "./format.ts";

/** Longer lists are cut, and what is left out is counted; `inspect --json` has all. */
export const longestList = 40;

/**
 * Name, addresses, content in numbers; then the images and what else is inside.
 * @param width of the terminal, where there is one
 */
export function describeContents(index: BundleIndex, size: number, width?: number): string {
  const facts = [
    ["name", `${index.name}, release ${index.release}, made ${index.created}`],
    ["size", `${formatBytes(size)} (${size} bytes)`],
    ["registry", `${index.addresses.join(", ")}, port ${index.registry.port}, ${accessText(index)}`],
    ["image", `${index.registry.reference} for ${Object.keys(index.registry.images).join(", ")}`],
    ["content", contentText(index)],
    ["certificates", certificatesText(index)],
  ];
  const sections = [
    fittedTable(facts.map(onOneLine), { width }),
    list("images", imageRows(index), width),
    list(
      "seeds",
      index.seeds.map(({ source, size: bytes, packed }) => [
        source,
        formatBytes(bytes),
        packed ? "carried packed" : "unpacked",
      ]),
      width,
    ),
    list(
      "files",
      index.files.map(({ name }) => [name]),
      width,
    ),
    list(packagesTitle, packageRows(index), width),
    list("left out", [...index.leftOut, ...index.seeds.flatMap((seed) => seed.leftOut)].map(noteRow), width),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

/** A name with a line end in it could pass for a line of ours. */
export function onOneLine(row: string[]): string[] {
  return row.map((cell) => printable(cell));
}

function accessText({ registry }: BundleIndex): string {
  return registry.access === "push" ? "anyone who reaches it may push" : "read-only";
}

function contentText({ repositories, totals }: BundleIndex): string {
  const tags = Object.values(repositories).reduce((sum, one) => sum + Object.keys(one.tags).length, 0);
  const names = count(Object.keys(repositories).length, "repository", "repositories");
  return `${names}, ${count(tags, "tag")}, ${count(totals.blobs, "blob")}, ${formatBytes(totals.bytes)} at the site`;
}

function certificatesText({ certificates }: BundleIndex): string {
  if (certificates.from === "site") return "made at the site; no key inside";
  return certificates.keyEncrypted
    ? "inside; the server's key is encrypted"
    : "inside; THE SERVER'S KEY IS NOT ENCRYPTED: whoever has this file has the key";
}

/** Every tag at the site, with the platforms that were taken where it is known. */
function imageRows({ repositories, images }: BundleIndex): string[][] {
  const platforms = new Map(
    images.map((image) => [`${image.repository}:${image.tag}`, image.platforms.join(", ")]),
  );
  return Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.entries(tags).map(([tag, digest]) => {
      const name = `${repository}:${tag}`;
      return [shortenDigests(name), shortDigest(digest), platforms.get(name) ?? ""];
    }),
  );
}

export const packagesTitle = "packages, to install Docker on";

function packageRows({ packages, blobs }: BundleIndex): string[][] {
  const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
  return packages.map(({ match, files }) => {
    const size = files.reduce((sum, { digest }) => sum + (sizes.get(digest) ?? 0), 0);
    return [describeMatch(match), count(files.length, "file"), formatBytes(size)];
  });
}

export function noteRow({ what, why }: { what: string; why: string }): string[] {
  return [shortenDigests(what), shortenDigests(why)];
}

/** A table under its title, cut if it is long; "" if it is empty. @param width of the terminal */
export function list(title: string, rows: string[][], width?: number): string {
  if (rows.length === 0) return "";
  const shown = rows.slice(0, longestList).map(onOneLine);
  const more =
    rows.length > shown.length ? `\n  and ${rows.length - shown.length} more (--json lists all)` : "";
  return `${title}\n${fittedTable(shown, { indent: 2, width })}${more}`;
}
