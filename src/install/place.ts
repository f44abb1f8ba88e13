/**
 * The step "place": blobs go from the archive straight to where they stay, hashed on the way, in one pass.
 * A blob gets its final name after its digest has matched and it is on disk; one whose final name and size
 * are there already is neither written nor read.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { BundleBlob, BundleIndex, BundleSeed } from "../archive/bundle-index.ts";
import { packageBlobs, storedBlobs } from "../archive/contents.ts";
import { damageError } from "../archive/damage.ts";
import type { Bundle } from "../archive/reader.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { blobPath } from "../oci/storage.ts";
import type { Step } from "../reporter.ts";
import type { SiteLayout } from "../site/layout.ts";
import { blobNames } from "./blob-names.ts";
import { BlobPlacer, type Missing } from "./blob-placer.ts";
import { differingFiles, type FileValue, fileList, filesOf } from "./files.ts";
import { unpackCarried, unpackSeed } from "./unpack-seed.ts";

/** With the eight fsyncs of blob-placer.ts, the fastest of those measured; the thread pool must have 16. */
const readers = 4;

/** What of a bundle is not at the site yet. */
export interface Placement {
  missing: Missing;
  /** what the manifest's `files:` carried and is not shown at the site yet */
  files: FileValue[];
  /** what that will take */
  needed: Amount;
  /** what all of the bundle takes at the site, with what is there already */
  total: Amount;
}

export interface Amount {
  blobs: number;
  bytes: number;
}

/** Looks what of the bundle is there already. Writes nothing. */
export async function planPlacement(
  index: BundleIndex,
  layout: SiteLayout,
  bundleDigest: Digest,
): Promise<Placement> {
  const release = layout.release(bundleDigest);
  const wanted: Missing = new Map();
  const missing: Missing = new Map();
  const look = async (digest: Digest, size: number, path: string) => {
    if (add(wanted, digest, size, path) && !(await isThere(path, size))) add(missing, digest, size, path);
  };
  for (const [digest, size] of storedBlobs(index))
    await look(digest, size, join(layout.storage, blobPath(digest)));
  for (const { digest, size, role } of index.blobs) {
    if (role === "registry") await look(digest, size, release.registryBlob(digest));
  }
  for (const [digest, size] of packageBlobs(index)) await look(digest, size, release.packageFile(digest));
  const sizes = new Map(index.blobs.map(({ digest, size }) => [digest, size]));
  for (const { digest } of index.files) await look(digest, sizes.get(digest) ?? 0, layout.keptFile(digest));
  const files = await differingFiles(fileList(filesOf(index)), layout);
  return { missing, files, needed: amountOf(missing), total: amountOf(wanted) };
}

/** @returns false if it is among them already */
function add(blobs: Missing, digest: Digest, size: number, path: string): boolean {
  const paths = blobs.get(digest)?.paths ?? [];
  if (paths.includes(path)) return false;
  blobs.set(digest, { size, paths: [...paths, path] });
  return true;
}

/** A blob that goes to two places takes its room twice. */
function amountOf(blobs: Missing): Amount {
  const bytes = blobs.values().reduce((sum, { size, paths }) => sum + size * paths.length, 0);
  return { blobs: blobs.size, bytes };
}

async function isThere(path: string, size: number): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  });
  return found?.isFile() === true && found.size === size;
}

const kept =
  "What is good is at the site by now and stays; nothing of it shows yet, and what was served still is.";
/** What is said after what to copy again. */
const next = `${kept} Then run the same command: it reads only what is missing.`;

/**
 * Writes every missing blob to its place; of a bundle opened to go on, all that are good.
 * @throws DrydockError "integrity" naming every blob that is damaged (`data.damage` is a list of Damage), or
 *   what a seed lacks, "host" if the disk is full or fails.
 */
export async function place(
  bundle: Bundle,
  placement: Placement,
  layout: SiteLayout,
  step: Step,
): Promise<void> {
  const seeds = new Map(bundle.index.seeds.map((seed) => [`sha256:${seed.sha256}`, seed]));
  step.total(placement.needed.bytes);
  const writer = new BlobPlacer(placement.missing, layout.incoming, step, blobNames(bundle.index));
  await writer.begin();
  try {
    // The pass goes over what comes after the certificates; one of them may be wanted as a file, too.
    for (const [digest, bytes] of bundle.certificates) await writer.write(digest, once(bytes));
    const pass = bundle.forEachBlob({
      concurrency: readers,
      wants: (blob) => wantedSeed(blob, seeds, placement) !== undefined || placement.missing.has(blob.digest),
      use: async (blob) => {
        const seed = wantedSeed(blob, seeds, placement);
        const path = placement.missing.get(blob.digest)?.paths[0];
        if (path !== undefined) await writer.write(blob.digest, blob.read());
        if (!seed) return;
        if (path !== undefined) await writer.named();
        if (path === undefined) await unpackCarried(blob.read(), seed, writer);
        else await unpackSeed(createReadStream(path, { highWaterMark: 1024 * 1024 }), seed, writer);
      },
    });
    const stoppedBy = await pass.then(() => [], integrityError);
    const damage = await bundle.damage();
    if (damage.length > 0) throw damageError(bundle, damage, next, stoppedBy);
    if (stoppedBy[0]) throw bundle.sequential ? withHint(stoppedBy[0], kept) : stoppedBy[0];
  } finally {
    await writer.end();
  }
  writer.checkComplete();
}

function withHint(error: DrydockError, more: string): DrydockError {
  const hint = [...(error.hint === undefined ? [] : [error.hint]), more].join("\n");
  return new DrydockError(error.kind, error.message, { hint, data: error.data, cause: error });
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** @throws what is none */
function integrityError(error: unknown): [DrydockError] {
  if (error instanceof DrydockError && error.kind === "integrity") return [error];
  throw error;
}

/** The packed seed that a blob is, if something of it is missing. */
function wantedSeed(
  blob: BundleBlob,
  seeds: Map<string, BundleSeed>,
  { missing }: Placement,
): BundleSeed | undefined {
  const seed = blob.role === "seed" ? seeds.get(blob.digest) : undefined;
  return seed?.packed?.blobs.some(({ digest }) => missing.has(digest)) ? seed : undefined;
}
