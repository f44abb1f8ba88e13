/**
 * The plan of a bundle: every source of content is asked what it has, before the first byte of the archive
 * is written.
 */
import { dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import pLimit, { type LimitFunction } from "p-limit";
import type { Bundle } from "../archive/reader.ts";
import { defaultKeyStore } from "../certificates/custody.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { formatReference } from "../oci/reference.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import { type KeyProtection, type PlannedCertificates, planCertificates } from "./bundle-certificates.ts";
import type { Content } from "./content.ts";
import { DownloadLimits } from "./download-limits.ts";
import { engineImageId, planEngineImage } from "./engine-source.ts";
import { planFiles, planPackages } from "./file-source.ts";
import { planImage } from "./image-source.ts";
import { type Lock, lockFileOf, writeLock } from "./lock-file.ts";
import type { Manifest, ManifestImage, ManifestSeed } from "./manifest.ts";
import { engineName, type Locking, lockedPins, type Pins, seedName, unpinned } from "./pins.ts";
import { type PlannedRegistry, planRegistryImage } from "./registry-image.ts";
import { reusedSeed } from "./seed-reuse.ts";
import { planSeed, type SeedRequest } from "./seed-source.ts";

/** Downloads at the same time, over all registries, unless it is said. */
export const defaultParallel = 12;
/** Images whose image manifests are fetched at the same time, unless fewer downloads are wanted. */
const mostResolutions = 8;

export interface Sources {
  manifest: Manifest;
  client: RegistryClient;
  /** the archive's path: what has to be saved before it can be planned is saved beside it */
  output: string;
  /** gets each source as soon as it is planned, so that it is disposed of */
  contents: Content[];
  locking: Locking;
  /** earlier bundles, from which blobs will be taken */
  reusable: readonly Bundle[];
  /** downloads at the same time, over all registries */
  parallel: number;
  /** take what is whole of damaged seeds */
  allowIncomplete: boolean;
}

/** What plan() needs of a bundle's options. */
export interface PlanOptions {
  /** of the build: for the lock file, if it is a new one */
  created: string;
  /** where CA and server pair are kept; the user's own place if left out */
  keyStore?: string;
  protection: KeyProtection;
}

/** What a bundle is planned to be, besides what stands in `contents`. */
export interface Planned {
  certificates: PlannedCertificates;
  registry: PlannedRegistry;
  /** the path of the lock file that was written */
  lock?: string;
  /** the bundle's time, where a lock file says it */
  created?: string | undefined;
}

/**
 * Plans every source, and writes the lock file if one is wanted. What was planned stands in `contents`, also
 * when this throws.
 * @throws DrydockError "input", "upstream", "integrity", "host": whatever a source ends with
 */
export async function plan(sources: Sources, options: PlanOptions, reporter: Reporter): Promise<Planned> {
  const { manifest, contents } = sources;
  const pins = await pinsOf(sources, reporter);
  const { registry, images, referrers } = await planImages(sources, pins, reporter);
  const engine = await planEngineImages(sources, pins, reporter);
  const seeds = await planSeeds(sources, pins, reporter);
  await planCarriedFiles(sources, reporter);
  const lock = await keepLock(sources, { images, referrers, engine, seeds }, options.created);
  const keyStore = options.keyStore ?? defaultKeyStore();
  const certificates = await runStep(reporter, "certificates", () =>
    planCertificates(manifest, keyStore, options.protection, new Date()),
  );
  // Certificates and key come first in the archive, so that a pipe gives them before the bulk.
  contents.unshift(certificates.content);
  return { certificates, registry, created: pins.created, ...lock };
}

/** @throws as lockedPins */
export async function pinsOf(
  { manifest, locking }: Pick<Sources, "manifest" | "locking">,
  reporter: Reporter,
): Promise<Pins> {
  return locking === "locked" ? await lockedPins(manifest, reporter) : unpinned;
}

/** Writes what was found to the lock file, if that is wanted. @returns its path and its time */
export async function keepLock(
  { manifest, locking }: Pick<Sources, "manifest" | "locking">,
  lock: Omit<Lock, "created">,
  created: string,
): Promise<{ lock?: string; created?: string }> {
  if (locking !== "lock") return {};
  const path = lockFileOf(manifest);
  return { lock: path, created: await writeLock(path, lock, created) };
}

/** The registry's own image and those of upstream registries. */
export async function planImages(
  { manifest, client, contents, parallel }: Omit<Sources, "output" | "reusable" | "allowIncomplete">,
  pins: Pins,
  reporter: Reporter,
): Promise<{ registry: PlannedRegistry } & Pick<Lock, "images" | "referrers">> {
  const limits = new DownloadLimits(parallel);
  const wanted = manifest.images.filter(({ from }) => from === "registry");
  const resolving = pLimit(Math.min(parallel, mostResolutions));
  return await runStep(reporter, "resolve images", async (step) => {
    const registry = await planRegistryImage(manifest, client, limits, pins.image(manifest.registry.image));
    const planned = await resolveAll(wanted, pins, { client, limits, resolving }, step);
    contents.push(registry.content, ...planned);
    const images: Record<string, Digest> = { [formatReference(manifest.registry.image)]: registry.digest };
    const referrers: Lock["referrers"] = {};
    for (const [at, image] of wanted.entries()) {
      const content = planned[at];
      const digest = content?.images?.[0]?.digest;
      if (content === undefined || digest === undefined) continue;
      images[formatReference(image.reference)] = digest;
      if (image.referrers) referrers[formatReference(image.reference)] = referrersOf(image, content, pins);
    }
    return { registry, images, referrers };
  });
}

/** @throws DrydockError "upstream" if they are not those that were locked */
function referrersOf({ source, reference, site }: ManifestImage, { repositories }: Content, pins: Pins) {
  const { [site.tag ?? ""]: _, ...tags } = repositories[site.repository]?.tags ?? {};
  const locked = pins.referrers(reference);
  if (locked === undefined || isDeepStrictEqual(locked, tags)) return tags;
  throw new DrydockError(
    "upstream",
    `resolve ${source}: what refers to it upstream has changed since it was locked`,
    { hint: "Take what refers to it now with --lock, or leave `referrers` out." },
  );
}

async function resolveAll(
  wanted: ManifestImage[],
  pins: Pins,
  { client, limits, resolving }: { client: RegistryClient; limits: DownloadLimits; resolving: LimitFunction },
  step: Step,
): Promise<Content[]> {
  let done = 0;
  return await Promise.all(
    wanted.map((image) =>
      resolving(async () => {
        const { source, site, platforms, referrers } = image;
        const request = { source, reference: pins.image(image.reference), ...site, platforms, referrers };
        const content = await planImage(request, client, limits);
        done += 1;
        step.detail(`${done} of ${wanted.length}, ${source}`);
        return content;
      }),
    ),
  );
}

/** @returns the images' ids, where they are pinned or to be locked */
async function planEngineImages(
  { manifest, output, contents, locking }: Sources,
  pins: Pins,
  reporter: Reporter,
): Promise<Lock["engine"]> {
  const ids: Lock["engine"] = {};
  for (const { source, from, site, platforms } of manifest.images) {
    if (from !== "engine") continue;
    const { connectEngine } = await import("../engine/engine.ts");
    const { docker } = connectEngine(process.env, { silence: Number.POSITIVE_INFINITY });
    const name = engineName(source);
    // Saved by its id, the image is the one that is locked, whatever happens to its name meanwhile.
    const id = pins.engine(name) ?? (locking === "lock" ? await engineImageId(docker, name) : undefined);
    if (id !== undefined) ids[name] = id;
    const [platform] = platforms === "all" ? [] : platforms;
    const request = { source, name, ...site, ...(platform && { platform }), ...(id && { id }) };
    const image = () => planEngineImage(request, docker, dirname(output));
    contents.push(await runStep(reporter, `read ${source}`, image));
  }
  return ids;
}

export function seedRequest(seed: ManifestSeed, pins: Pins): SeedRequest {
  return "url" in seed
    ? { ...seed, source: seed.url, sha256: pins.seed(seed) ?? seed.sha256 }
    : { ...seed, source: seed.file, sha256: pins.seed(seed) };
}

async function planSeeds(
  { manifest, output, contents, reusable, allowIncomplete }: Sources,
  pins: Pins,
  reporter: Reporter,
): Promise<Lock["seeds"]> {
  const found: Lock["seeds"] = {};
  for (const seed of manifest.seeds) {
    const request = seedRequest(seed, pins);
    const options = { output, allowIncomplete, reporter };
    const content = reusedSeed(request, reusable, options) ?? (await planSeed(request, options));
    contents.push(content);
    if (content.seed !== undefined) found[seedName(manifest, seed)] = content.seed.sha256;
  }
  return found;
}

export async function planCarriedFiles(
  { manifest, contents }: Pick<Sources, "manifest" | "contents">,
  reporter: Reporter,
): Promise<void> {
  const { files, packages } = manifest;
  if (files.length > 0) contents.push(await runStep(reporter, "read files", () => planFiles(files)));
  if (packages.length > 0)
    contents.push(await runStep(reporter, "read packages", () => planPackages(packages)));
}
