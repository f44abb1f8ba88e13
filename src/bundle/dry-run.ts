/**
 * What `drydock bundle` would do, found out without writing anything: no archive, no spool, no certificate.
 * What can be known only while building (a seed behind a URL, an image of the local engine) is said to be so.
 */
import { resolve } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Bundle } from "../archive/reader.ts";
import type { Digest } from "../oci/digest.ts";
import { formatReference } from "../oci/reference.ts";
import type { Reporter } from "../reporter.ts";
import { type ConnectOptions, connectRegistries } from "./connect.ts";
import type { Content } from "./content.ts";
import { createdTime } from "./created.ts";
import { announcedSize, publicUrl } from "./download.ts";
import { sizeOf, totalsOf } from "./dry-run-totals.ts";
import { engineImageId } from "./engine-source.ts";
import type { Lock } from "./lock-file.ts";
import { type Manifest, type ManifestImage, type ManifestSeed, readManifest } from "./manifest.ts";
import { engineName, type Locking, type Pins, seedName } from "./pins.ts";
import { defaultParallel, keepLock, pinsOf, planCarriedFiles, planImages, seedRequest } from "./plan.ts";
import { openReusable, reusedBlob } from "./seal.ts";
import { reusedSeed } from "./seed-reuse.ts";
import { planSeed } from "./seed-source.ts";

export interface DryRunOptions extends ConnectOptions {
  /** where the archive would go; NAME.tar in the working directory if left out */
  output?: string;
  /** more files that name images, relative to the working directory; "-" is standard input */
  imagesFrom?: readonly string[];
  /** lock: the lock file is the one thing that is written */
  locking?: Locking;
  /** requests at the same time; 8 if left out */
  parallel?: number;
  /** take what is whole of damaged seeds, instead of refusing them */
  allowIncomplete?: boolean;
  /** earlier bundles, from which blobs would be taken */
  reuse?: readonly string[];
  /** the largest size of a part, if the archive would be cut in some */
  split?: number;
}

/** Sizes are in bytes, and without what `unknown` lists. */
export interface DryRun {
  name: string;
  release: number;
  /** the registry's own image */
  registry: PlannedImage;
  images: PlannedImage[];
  seeds: PlannedSeed[];
  files: { count: number; size: number };
  /** what installs Docker on hosts that lack it, for "debian 12 amd64" say */
  packages: { hosts: string; count: number; size: number }[];
  /** what stands in the bundle once though more than one image or seed has it */
  shared: { blobs: number; bytes: number };
  /** size: of the archive, up to some KiB for the certificates; free: where it would be written; parts: with --split */
  archive: { path: string; blobs: number; size: number; free?: number; parts?: number };
  /** what of the archive earlier bundles have; absent where none is named */
  reused?: { blobs: number; bytes: number };
  /** what an empty site needs, with files, packages and the registry's image; inodes: files and folders */
  site: { blobs: number; bytes: number; inodes: number };
  leftOut: BundleIndex["leftOut"];
  /** what is known only when it is built */
  unknown: { what: string; why: string }[];
  /** the path of the lock file that was written */
  lock?: string;
}

export interface PlannedImage {
  source: string;
  /** its name at the site; the registry's own image has none */
  repository?: string;
  tag?: string;
  /** absent where the image is of the local engine */
  digest?: Digest;
  platforms: string[];
  /** of its image manifests, configs and layers, and of what refers to it; absent where it is of the local engine */
  size?: number;
  /** the tags below which what refers to it stands; absent where that is not wanted */
  referrers?: string[];
}

export interface PlannedSeed {
  source: string;
  sha256?: string;
  /** as it is packed; absent where nobody says it */
  size?: number;
  /** whether it is carried so; absent where it is not read yet */
  packed?: boolean;
  /** what the site's storage holds of it; absent where it is not read yet */
  unpacked?: number;
}

/** @throws DrydockError "input", "upstream", "integrity" as bundle() would */
export async function dryRun(
  manifestFile: string,
  options: DryRunOptions,
  reporter: Reporter,
): Promise<DryRun> {
  const { imagesFrom = [], locking = "none", parallel = defaultParallel, reuse = [] } = options;
  const manifest = await readManifest(manifestFile, { imagesFrom, reporter });
  const reusable = await openReusable(reuse);
  const client = await connectRegistries(options, manifest, reporter, {
    isEmpty: reusable.length === 0,
    read: (...what) => reusedBlob(reusable, ...what),
    add: async () => undefined,
  });
  const contents: Content[] = [];
  try {
    const sources = { manifest, client, contents, locking, parallel, reusable };
    const pins = await pinsOf(sources, reporter);
    const { registry, images, referrers } = await planImages(sources, pins, reporter);
    const engine = await lookAtEngine(manifest.images, pins);
    const { seeds, unknown, found } = await planSeeds(sources, pins, options, reporter);
    await planCarriedFiles(sources, reporter);
    const lock = { images, referrers, engine: engine.ids, seeds: found };
    const { lock: locked } = await keepLock(sources, lock, createdTime());
    const output = resolve(options.output ?? `${manifest.name}.tar`);
    const referring = new Map(
      manifest.images.map(({ source, reference }) => [source, referrers[formatReference(reference)]]),
    );
    return {
      ...(await totalsOf(manifest, registry, contents, { ...options, output, reusable })),
      images: [...contents.flatMap((content) => plannedImages(content, referring)), ...engine.images],
      registry: {
        source: formatReference(manifest.registry.image),
        digest: registry.digest,
        platforms: Object.keys(registry.images),
        size: sizeOf(registry.content),
      },
      seeds,
      unknown: [...engine.unknown, ...unknown],
      ...(locked === undefined ? {} : { lock: locked }),
    };
  } finally {
    const open = [client, ...reusable].map((one) => one.close());
    await Promise.all([...open, ...contents.map((content) => content.dispose?.())]);
  }
}

/** @param referring an image's source → what refers to it */
function plannedImages(
  content: Content,
  referring: ReadonlyMap<string, Record<string, Digest> | undefined>,
): PlannedImage[] {
  return (content.images ?? []).map((image) => {
    const referrers = referring.get(image.source);
    return { ...image, size: sizeOf(content), ...(referrers && { referrers: Object.keys(referrers) }) };
  });
}

/** Images of the local engine: there, but their compressed layers are made only for the bundle. */
async function lookAtEngine(all: ManifestImage[], pins: Pins) {
  const images: PlannedImage[] = [];
  const ids: Lock["engine"] = {};
  for (const { source, from, site, platforms } of all) {
    if (from !== "engine") continue;
    const name = engineName(source);
    const { connectEngine } = await import("../engine/engine.ts");
    ids[name] = await engineImageId(connectEngine().docker, pins.engine(name) ?? name);
    images.push({ source, ...site, platforms: platforms === "all" ? [] : platforms.slice(0, 1) });
  }
  const why = "its layers are compressed while the bundle is built: its size is known then";
  return { images, ids, unknown: images.map(({ source }) => ({ what: source, why })) };
}

/**
 * A seed from a file is scanned as for a build, unless an earlier bundle holds it; of one behind a URL the server
 * tells the size alone.
 */
async function planSeeds(
  { manifest, contents, reusable }: { manifest: Manifest; contents: Content[]; reusable: Bundle[] },
  pins: Pins,
  { allowIncomplete = false }: DryRunOptions,
  reporter: Reporter,
) {
  // Nothing is saved.
  const options = { output: "", allowIncomplete, reporter };
  const seeds: PlannedSeed[] = [];
  const unknown: DryRun["unknown"] = [];
  const found: Lock["seeds"] = {};
  for (const seed of manifest.seeds) {
    const request = seedRequest(seed, pins);
    const isThere = "file" in request;
    const content =
      reusedSeed(request, reusable, options) ?? (isThere ? await planSeed(request, options) : undefined);
    let planned: PlannedSeed;
    if (content === undefined) {
      const looked = await lookAtUrl(request.source, seed.keep);
      planned = { ...looked.planned, ...(request.sha256 && { sha256: request.sha256 }) };
      unknown.push({ what: planned.source, why: looked.why });
    } else {
      contents.push(content);
      planned = plannedSeed(content);
    }
    seeds.push(planned);
    if (planned.sha256 !== undefined) found[seedName(manifest, seed)] = planned.sha256;
  }
  return { seeds, unknown, found };
}

function plannedSeed({ seed, blobs }: Content): PlannedSeed {
  if (seed === undefined) throw new Error("a seed's content has no seed");
  const { source, size, packed, sha256 } = seed;
  const unpacked = (packed?.blobs ?? blobs).reduce((sum, blob) => sum + blob.size, 0);
  return { source, sha256, size, packed: packed !== undefined, unpacked };
}

async function lookAtUrl(
  url: string,
  keep: ManifestSeed["keep"],
): Promise<{ planned: PlannedSeed; why: string }> {
  const source = publicUrl(url);
  const size = await announcedSize(url, `seed ${JSON.stringify(source)}`);
  const planned = {
    source,
    ...(size === undefined ? {} : { size }),
    ...(keep && { packed: keep === "packed" }),
  };
  const why = "what is in it is known when it is downloaded";
  return { planned, why: size === undefined ? `its server does not say its size, and ${why}` : why };
}
