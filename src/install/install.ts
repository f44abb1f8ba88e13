/**
 * `drydock install`: the isolated side's pipeline, its steps in order. Each can be repeated: what is
 * there already is left as it is.
 */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { openSource } from "../archive/open-source.ts";
import { type Bundle, openBundle } from "../archive/reader.ts";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { loadImage } from "../engine/load.ts";
import { DrydockError } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import {
  claimSite,
  currentRelease,
  findSite,
  readRelease,
  rememberSite,
  type ServeSettings,
  type SiteChoices,
  writeRelease,
} from "../site/record.ts";
import { type CertificatePlan, placeCertificates, planCertificates } from "./certificates.ts";
import { link, readTags } from "./link.ts";
import { type Placement, place, planPlacement } from "./place.ts";
import { type Finding, failOnErrors, preflight, registryPlatform } from "./preflight.ts";
import { type Proof, prove } from "./prove.ts";
import { runRegistry } from "./run.ts";
import { settingsFor } from "./settings.ts";

export interface InstallOptions {
  /** a path, or "-" for standard input */
  bundle: string;
  /** the digest that the bundle must have, with or without "sha256:" */
  digest?: string;
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** what the user says here instead of what the bundle says */
  choices?: SiteChoices;
  /** asked for only if the bundle's key is encrypted and needed */
  askPassphrase: () => Promise<string>;
  /** Called with the registry's addresses before anything is written; throws if the clients' do not fit. */
  checkAddresses?: (addresses: string[]) => void;
}

export interface InstallResult {
  /** the site's directory */
  site: string;
  /** the bundle's digest, 64 digits */
  digest: string;
  index: BundleIndex;
  settings: ServeSettings;
  /** whether anything was changed; if not, all of the bundle was installed and running */
  changed: boolean;
  /** what had to be written */
  placed: { blobs: number; bytes: number };
  /** how many tags moved */
  tagsMoved: number;
  certificates: CertificatePlan["action"];
  /** what was done to the registry's container, if anything */
  container?: string;
  proof: Proof;
  /** what preflight warned of */
  warnings: Finding[];
}

/**
 * @throws DrydockError "integrity" (the archive is damaged or not the one asked for), "input" (no bundle,
 *   a wrong passphrase), "preflight" (all that stands in the way, before the first write), "host" (this
 *   host failed midway). Whatever happens, a registry that served before serves what it served.
 */
export async function install(options: InstallOptions, reporter: Reporter): Promise<InstallResult> {
  const layout = await findSite(options.site);
  const lock = await takeLock("site", layout.root);
  try {
    const bundle = await runStep(
      reporter,
      "open",
      async () => openBundle(await openSource(options.bundle), options.digest),
      ({ index }) => `${index.name}, release ${index.release}`,
    );
    return await installBundle(bundle, layout, options, reporter).finally(() => bundle.close());
  } finally {
    await lock.release();
  }
}

async function installBundle(
  bundle: Bundle,
  layout: SiteLayout,
  options: InstallOptions,
  reporter: Reporter,
): Promise<InstallResult> {
  const { index } = bundle;
  const digest: Digest = `sha256:${bundle.digest}`;
  const served = await currentRelease(layout);
  const { settings, chosen } = settingsFor(index, options.choices ?? {}, served);
  options.checkAddresses?.(settings.addresses);
  const engine = connectEngine();
  const placement = await planPlacement(index, layout, digest);
  const certificates = await planCertificates(bundle, layout, {
    addresses: settings.addresses,
    askPassphrase: options.askPassphrase,
    now: new Date(),
  });
  const findings = await runStep(reporter, "preflight", () =>
    check({ index, layout, engine, settings, placement, certificates }),
  );
  const warnings = findings.filter(({ level }) => level === "warning");
  for (const { text } of warnings) reporter.warn(text);

  await claimSite(layout);
  await runStep(reporter, "place", (step) => place(bundle, placement, layout, step));
  const tagsBefore = await readTags(index, layout);
  const links = await runStep(
    reporter,
    "link",
    () => link(index, layout),
    ({ tags }) => `${tags} tags moved`,
  );
  await placeCertificates(certificates, layout);
  await keepIndex(bundle, layout, digest);
  const run = await runStep(
    reporter,
    "run",
    () => startRegistry(engine, { index, layout, settings, digest }),
    ({ why }) => why ?? "unchanged",
  );
  const proof = await prove(
    {
      ca: await readFile(layout.caCertificate),
      addresses: settings.addresses,
      port: settings.port,
      repositories: index.repositories,
    },
    reporter,
  );
  const { blobs, bytes } = placement.needed;
  const shown = placement.files.length;
  const changed =
    blobs > 0 ||
    shown > 0 ||
    links.links > 0 ||
    links.tags > 0 ||
    certificates.action !== "keep" ||
    run.changed;
  const recorded = await readRelease(layout, digest);
  if (changed || !recorded) {
    await writeRelease(layout, {
      bundleDigest: digest,
      name: index.name,
      release: index.release,
      installedAt: new Date().toISOString(),
      tagsBefore: recorded?.tagsBefore ?? tagsBefore,
      tagsAfter: Object.fromEntries(
        Object.entries(index.repositories).map(([name, { tags }]) => [name, tags]),
      ),
      placed: { blobs, bytes },
      settings,
      chosen,
    });
  }
  await rememberSite(layout);
  return {
    site: layout.root,
    digest: bundle.digest,
    index,
    settings,
    changed: changed || !recorded,
    placed: { blobs, bytes },
    tagsMoved: links.tags,
    certificates: certificates.action,
    ...(run.why === undefined ? {} : { container: run.why }),
    proof,
    warnings,
  };
}

/** The step "preflight": everything that can be known before the first write. */
async function check(plan: {
  index: BundleIndex;
  layout: SiteLayout;
  engine: Engine;
  settings: ServeSettings;
  placement: Placement;
  certificates: CertificatePlan;
}): Promise<Finding[]> {
  const { placement, certificates, ...rest } = plan;
  const findings = await preflight({
    ...rest,
    needed: placement.spaces,
    certificateFindings: certificates.findings,
  });
  failOnErrors(findings);
  return findings;
}

/** Keeps the bundle index in the release's folder: with it the release can be put back without the stick. */
async function keepIndex(bundle: Bundle, layout: SiteLayout, digest: Digest): Promise<void> {
  const release = layout.release(digest);
  const kept = await readFile(release.bundleIndex).catch(() => undefined);
  if (kept?.equals(bundle.indexBytes)) return;
  await makeFolder(release.folder);
  await writeDurably(release.bundleIndex, bundle.indexBytes);
}

/** The step "run": the registry's image into the engine, out of the release's own blobs; then the container. */
async function startRegistry(
  engine: Engine,
  {
    index,
    layout,
    settings,
    digest,
  }: { index: BundleIndex; layout: SiteLayout; settings: ServeSettings; digest: Digest },
) {
  const release = layout.release(digest);
  const { platform } = await engine.describe();
  const image = index.registry.images[registryPlatform(index.registry.images, platform) ?? ""];
  if (!image) throw new DrydockError("preflight", `the bundle has no registry image for ${platform}`);
  const imageId = await loadImage(engine, {
    manifest: await readFile(release.registryBlob(image)),
    blob: (blob) => createReadStream(release.registryBlob(blob), { highWaterMark: 1024 * 1024 }),
    name: `drydock/registry:${shortDigest(image)}`,
  });
  const { port, access } = settings;
  return await runRegistry(engine, { layout, port, access, imageId });
}
