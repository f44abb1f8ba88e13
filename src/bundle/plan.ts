/**
 * The plan of a bundle: every source of content is asked what it has, before the first byte of the archive
 * is written.
 */
import pLimit, { type LimitFunction } from "p-limit";
import { defaultKeyStore } from "../certificates/custody.ts";
import { connectEngine } from "../engine/engine.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import { type KeyProtection, type PlannedCertificates, planCertificates } from "./bundle-certificates.ts";
import type { Content } from "./content.ts";
import { planEngineImage } from "./engine-source.ts";
import { planFiles } from "./file-source.ts";
import { planImage } from "./image-source.ts";
import type { Manifest } from "./manifest.ts";
import { type PlannedRegistry, planRegistryImage } from "./registry-image.ts";
import { planSeed } from "./seed-source.ts";

/** Downloads at the same time, over all registries. */
const downloads = 8;
/** Images whose image manifests are fetched at the same time. */
const resolutions = 8;

export interface Sources {
  manifest: Manifest;
  client: RegistryClient;
  /** for what has to be saved before it can be planned */
  spoolFolder: string;
  /** gets each source as soon as it is planned, so that it is disposed of */
  contents: Content[];
}

/** What plan() needs of a bundle's options. */
export interface PlanOptions {
  /** where CA and server pair are kept; the user's own place if left out */
  keyStore?: string;
  protection: KeyProtection;
}

/**
 * Plans every source. What was planned stands in `contents`, also when this throws.
 * @throws DrydockError "input", "upstream", "integrity", "host": whatever a source ends with
 */
export async function plan(
  { manifest, client, spoolFolder, contents }: Sources,
  options: PlanOptions,
  reporter: Reporter,
): Promise<{ certificates: PlannedCertificates; registry: PlannedRegistry }> {
  const limit = pLimit(downloads);
  const registry = await runStep(reporter, "resolve images", async (step) => {
    const planned = await planRegistryImage(manifest, client, limit);
    contents.push(planned.content, ...(await resolveAll(manifest, client, limit, step)));
    return planned;
  });
  for (const { source, from, site, platforms } of manifest.images) {
    if (from !== "engine") continue;
    const name = source.replace(/^docker-daemon:/, "");
    const [platform] = platforms === "all" ? [] : platforms;
    const request = { source, name, ...site, ...(platform === undefined ? {} : { platform }) };
    const image = () => planEngineImage(request, connectEngine().docker, spoolFolder);
    contents.push(await runStep(reporter, `read ${source}`, image));
  }
  for (const seed of manifest.seeds) {
    const source = "url" in seed ? seed.url : seed.file;
    contents.push(await planSeed({ ...seed, source }, { spoolFolder, reporter }));
  }
  if (manifest.files.length > 0)
    contents.push(await runStep(reporter, "read files", () => planFiles(manifest.files)));
  const keyStore = options.keyStore ?? defaultKeyStore();
  const certificates = await runStep(reporter, "certificates", () =>
    planCertificates(manifest, keyStore, options.protection, new Date()),
  );
  // Certificates and key come first in the archive, so that a pipe gives them before the bulk.
  contents.unshift(certificates.content);
  return { certificates, registry };
}

async function resolveAll(
  manifest: Manifest,
  client: RegistryClient,
  limit: LimitFunction,
  step: Step,
): Promise<Content[]> {
  const wanted = manifest.images.filter(({ from }) => from === "registry");
  const resolving = pLimit(resolutions);
  let done = 0;
  return await Promise.all(
    wanted.map(({ source, reference, site, platforms }) =>
      resolving(async () => {
        const content = await planImage({ source, reference, ...site, platforms }, client, limit);
        done += 1;
        step.detail(`${done} of ${wanted.length}, ${source}`);
        return content;
      }),
    ),
  );
}
