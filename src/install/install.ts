/**
 * `drydock install`: the isolated side's pipeline, its steps in order. Each can be repeated: what is
 * there already is left as it is.
 */
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { openSource } from "../archive/open-source.ts";
import { type Bundle, openBundle } from "../archive/reader.ts";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { takeLock } from "../lock.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import { removeJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import {
  claimSite,
  currentRelease,
  findSite,
  rememberSite,
  type ServeSettings,
  type SiteChoices,
} from "../site/record.ts";
import { beginInstall, putOthersBack } from "./begin.ts";
import { type CertificatePlan, placeCertificates, planCertificates } from "./certificates.ts";
import { link } from "./link.ts";
import { type Placement, place, planPlacement } from "./place.ts";
import { type Finding, failOnErrors, preflight } from "./preflight.ts";
import { type Proof, prove } from "./prove.ts";
import { completeRelease, differs } from "./release.ts";
import { registryImageFor, serveRelease } from "./serve.ts";
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
  await putOthersBack(layout, digest, reporter);
  await runStep(reporter, "place", (step) => place(bundle, placement, layout, step));
  await keepIndex(bundle, layout, digest);
  const registryImage = await registryImageFor(index, engine);
  const release = { index, digest, settings, chosen, registryImage, placed: placement.needed };
  const effect =
    certificates.action !== "keep" || placement.files.length > 0 || (await differs(layout, release));
  const tagsBefore = effect ? await beginInstall(layout, index, digest) : {};
  const links = await runStep(
    reporter,
    "link",
    () => link(index, layout),
    ({ tags }) => `${tags} tags moved`,
  );
  await placeCertificates(certificates, layout);
  const run = await runStep(
    reporter,
    "run",
    () => serveRelease(engine, layout, { bundleDigest: digest, registryImage, settings }),
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
  if (effect) await completeRelease(layout, release, tagsBefore);
  await rememberSite(layout);
  await removeJournal(layout);
  return {
    site: layout.root,
    digest: bundle.digest,
    index,
    settings,
    changed: effect || links.links > 0 || run.changed,
    placed: placement.needed,
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
