/** Whether all that a release serves is still at the site: asked before anything of it is shown again. */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { storedBlobs } from "../archive/contents.ts";
import { parseBundleIndex } from "../archive/schema.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { blobPath, layerLinkPath, linkContent, revisionLinkPath } from "../oci/storage.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import type { FileValue } from "./files.ts";
import { nameOf } from "./history.ts";
import { eachOf, readLink, type TagValue } from "./tags.ts";

/** How many of the things that are missing an error lists. */
const shown = 10;

/**
 * Blobs are looked for by name and size; none is read.
 * @param wanted what tags are to name @param files what names below files/ are to show
 * @throws DrydockError "preflight" naming what is missing
 */
export async function checkStored(
  layout: SiteLayout,
  release: ReleaseRecord,
  wanted: readonly TagValue[],
  files: readonly FileValue[],
): Promise<void> {
  const missing = await missingOf(layout, wanted);
  await lookForContent(layout, release, missing);
  for (const { name, digest } of files) {
    if (digest === undefined || (await sizeOf(layout.keptFile(digest))) !== undefined) continue;
    missing.push(`files/${name} would show ${digest}, which is not there`);
  }
  if (missing.length === 0) return;
  throw new DrydockError(
    "preflight",
    `go to ${nameOf(release)}: not all of it is at the site\n${listOf(missing)}`,
    { hint: "Nothing was changed. Install its bundle again: that places what is missing." },
  );
}

/** The same for tags alone. @throws DrydockError "preflight" naming what is missing */
export async function checkTagsStored(layout: SiteLayout, wanted: readonly TagValue[]): Promise<void> {
  const missing = await missingOf(layout, wanted);
  if (missing.length === 0) return;
  throw new DrydockError("preflight", `put tags back: not all that they named is there\n${listOf(missing)}`, {
    hint: "Nothing was changed.",
  });
}

async function missingOf(layout: SiteLayout, wanted: readonly TagValue[]): Promise<string[]> {
  const missing: string[] = [];
  await eachOf(wanted, async ({ repository, tag, digest }) => {
    if (digest === undefined) return;
    const there =
      (await sizeOf(join(layout.storage, blobPath(digest)))) !== undefined &&
      (await hasLink(layout, revisionLinkPath(repository, digest), digest));
    if (!there) missing.push(`${repository}:${tag} would name ${digest}, which is not there`);
  });
  return missing;
}

function listOf(missing: string[]): string {
  const more = missing.length > shown ? [`and ${missing.length - shown} more`] : [];
  return [...missing.sort().slice(0, shown), ...more].map((line) => `  ${line}`).join("\n");
}

/** @param missing is added to */
async function lookForContent(layout: SiteLayout, release: ReleaseRecord, missing: string[]): Promise<void> {
  const at = layout.release(release.bundleDigest);
  const index = parseBundleIndex(await readKept(at.bundleIndex));
  const own = index.blobs.filter(({ role }) => role === "registry");
  const blobs = [
    ...[...storedBlobs(index)].map(([digest, size]) => ({
      size,
      path: join(layout.storage, blobPath(digest)),
    })),
    ...own.map(({ digest, size }) => ({ size, path: at.registryBlob(digest) })),
  ];
  await eachOf(blobs, async ({ path, size }) => {
    const found = await sizeOf(path);
    if (found === undefined) missing.push(`"${path}" is not there`);
    else if (found !== size) missing.push(`"${path}": wanted ${size} bytes, got ${found}`);
  });
  const links = Object.entries(index.repositories).flatMap(([name, { revisions, layers }]) => [
    ...revisions.map((digest) => ({ name, digest, path: revisionLinkPath(name, digest) })),
    ...layers.map((digest) => ({ name, digest, path: layerLinkPath(name, digest) })),
  ]);
  await eachOf(links, async ({ name, digest, path }) => {
    if (!(await hasLink(layout, path, digest))) missing.push(`${name} does not have its ${digest}`);
  });
}

async function hasLink(layout: SiteLayout, path: string, digest: Digest): Promise<boolean> {
  return (await readLink(join(layout.storage, path))) === linkContent(digest);
}

async function readKept(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new DrydockError("preflight", `read "${path}": ${errorText(error)}`, {
      hint: "Install the release's bundle again.",
      cause: error,
    });
  }
}

/** In bytes; undefined if there is no such file. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
