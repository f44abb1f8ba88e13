/**
 * `drydock bundle`: the connected side's pipeline. Everything is planned before the first byte of the
 * archive is written; then each source fills its slots, and the archive gets its name.
 */
import { resolve } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { openKeptBlobs } from "../archive/kept-blobs.ts";
import { removeKeptSeeds } from "../archive/kept-seeds.ts";
import type { EarlierTry } from "../archive/salvage.ts";
import { takeLock } from "../lock.ts";
import type { Reporter } from "../reporter.ts";
import type { KeyProtection } from "./bundle-certificates.ts";
import { type ConnectOptions, connectRegistries } from "./connect.ts";
import type { Content } from "./content.ts";
import { createdTime } from "./created.ts";
import { makeIndex } from "./make-index.ts";
import { type Manifest, readManifest } from "./manifest.ts";
import { mergeContents } from "./merge.ts";
import type { Locking } from "./pins.ts";
import { defaultParallel, plan } from "./plan.ts";
import { readmeOf } from "./readme.ts";
import { openReusable, reusedBlob, type SealOptions, seal } from "./seal.ts";
import { afterFailure, beginTry } from "./tries.ts";

export interface BundleOptions extends ConnectOptions, SealOptions {
  /** where the archive goes; NAME.tar in the working directory if left out */
  output?: string;
  /** throw away what an earlier try left, instead of going on with it */
  restart: boolean;
  /** earlier bundles, to take blobs from instead of fetching them */
  reuse: readonly string[];
  /** where CA and server pair are kept; the user's own place if left out */
  keyStore?: string;
  protection: KeyProtection;
  /** more files that name images, relative to the working directory; "-" is standard input */
  imagesFrom?: readonly string[];
  /** none if left out */
  locking?: Locking;
  /** downloads at the same time, over all registries; 12 if left out */
  parallel?: number;
  /** take what is whole of damaged seeds, instead of refusing them */
  allowIncomplete?: boolean;
}

export interface BundleResult {
  path: string;
  /** the bundle's digest: sha256 of SHA256SUMS, 64 digits */
  digest: string;
  /** of the archive, in bytes */
  size: number;
  index: BundleIndex;
  /** the passphrase that was made for the server's key; it is nowhere else */
  code?: string;
  /** the path of the lock file that was written */
  lock?: string;
  /** what of the certificates is new; absent where all was used again */
  newCertificates?: string;
}

/**
 * @throws DrydockError "input" (manifest, seed), "usage" (the output exists), "upstream", "integrity",
 *   "preflight" (no space for the archive, or another process writes it), "host" (the disk fails). What was fetched is kept beside the
 *   output, and the same call goes on with it.
 */
export async function bundle(
  manifestFile: string,
  options: BundleOptions,
  reporter: Reporter,
): Promise<BundleResult> {
  const { imagesFrom = [] } = options;
  const manifest = await readManifest(manifestFile, { imagesFrom, reporter });
  const output = resolve(options.output ?? `${manifest.name}.tar`);
  const lock = await takeLock("output", output);
  try {
    const earlier = await beginTry(output, options, reporter);
    return await build(manifest, output, earlier, options, reporter).catch(async (error) => {
      throw await afterFailure(output, error);
    });
  } finally {
    await lock.release();
  }
}

/** The build itself, by the only process that works on this output. */
async function build(
  manifest: Manifest,
  output: string,
  { created: began, journal: earlier }: EarlierTry,
  options: BundleOptions,
  reporter: Reporter,
): Promise<BundleResult> {
  const { locking = "none", parallel = defaultParallel, allowIncomplete = false } = options;
  const reusable = await openReusable(options.reuse);
  const kept = await openKeptBlobs(output, earlier);
  const client = await connectRegistries(options, manifest, reporter, {
    isEmpty: kept.isEmpty && reusable.length === 0,
    read: async (...what) => (await kept.read(...what)) ?? (await reusedBlob(reusable, ...what)),
    add: kept.add,
  });
  const contents: Content[] = [];
  try {
    const sources = { manifest, client, output, contents, locking, reusable, parallel, allowIncomplete };
    const planned = await plan(sources, { ...options, created: began }, reporter);
    const { certificates, registry, lock } = planned;
    const created = createdTime(new Date(planned.created ?? began));
    await kept.close();
    const { names, ...parts } = mergeContents(contents);
    const index = makeIndex(manifest, created, certificates.certificates, registry, parts);
    const archive = { index, readme: readmeOf(index), images: names };
    const { digest, size } = await seal(output, archive, contents, { earlier, reusable }, options, reporter);
    await removeKeptSeeds(output);
    const { code, made } = certificates;
    return {
      path: output,
      digest,
      size,
      index,
      ...(code ? { code } : {}),
      ...(made ? { newCertificates: made } : {}),
      ...(lock ? { lock } : {}),
    };
  } finally {
    const open = [client, kept, ...reusable].map((one) => one.close());
    await Promise.all([...open, ...contents.map((content) => content.dispose?.())]);
  }
}
