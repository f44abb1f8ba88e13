/**
 * What comes before the first write, for `install` and its dry run alike: the lock, the steps "open" and
 * "preflight", and the plans of what will be done.
 */
import type { Bundle } from "../archive/reader.ts";
import { namingParts } from "../archive/wrong-parts.ts";
import { connectEngine, type Engine } from "../engine/engine.ts";
import { takeLock } from "../lock.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import type { SiteLayout } from "../site/layout.ts";
import {
  currentRelease,
  findSite,
  listReleases,
  type ReleaseRecord,
  type ServeSettings,
  type SiteChoices,
} from "../site/record.ts";
import { type Adoption, planAdoption } from "./adopt.ts";
import { certificateFindings } from "./certificate-findings.ts";
import { addressesServed, type CertificatePlan, planCertificates } from "./certificates.ts";
import { commandToType, type FlagChanges } from "./command-to-type.ts";
import { checkDowngrade } from "./downgrade.ts";
import { loadedImage } from "./expected-image.ts";
import type { Finding } from "./finding.ts";
import type { InstallOptions } from "./install.ts";
import { openToInstall } from "./open.ts";
import { type Placement, planPlacement } from "./place.ts";
import { preflight } from "./preflight.ts";
import { settingsFor } from "./settings.ts";
import { spaceNeeded } from "./space.ts";

export interface Prepared {
  /** the release that is served now */
  served: ReleaseRecord | undefined;
  settings: ServeSettings;
  chosen: SiteChoices;
  engine: Engine;
  placement: Placement;
  certificates: CertificatePlan;
  /** of the registry that is taken over, if one is */
  adoption: Adoption | undefined;
  /** of preflight; errors among them are not thrown here */
  findings: Finding[];
  /** gives the command to type, with other flags */
  command: (changes: FlagChanges) => string;
}

/** Opens the bundle for `work`, with the site's lock held. @throws DrydockError as install() */
export async function withBundle<T>(
  { site, bundle: path, digest }: Pick<InstallOptions, "site" | "bundle" | "digest">,
  reporter: Reporter,
  work: (bundle: Bundle, layout: SiteLayout) => Promise<T>,
): Promise<T> {
  const layout = await findSite(site);
  const lock = await takeLock("site", layout.root);
  try {
    return await namingParts(path, async () => {
      const bundle = await runStep(
        reporter,
        "open",
        () => openToInstall(path, digest, reporter),
        ({ index }) => `${index.name}, release ${index.release}`,
      );
      return await work(bundle, layout).finally(() => bundle.close());
    });
  } finally {
    await lock.release();
  }
}

/** Plans everything and checks everything. Writes nothing. @throws DrydockError "input", "integrity", "host" */
export async function prepare(
  bundle: Bundle,
  layout: SiteLayout,
  options: InstallOptions,
  reporter: Reporter,
): Promise<Prepared> {
  const { index } = bundle;
  const { typed = ["drydock", "install", options.bundle] } = options;
  const served = await currentRelease(layout);
  const now = new Date();
  const engine = connectEngine();
  const { choices = {}, newCertificates = false, adopt = false } = options;
  const command = (changes: FlagChanges) => commandToType(typed, changes);
  const {
    adoption,
    returning,
    findings: ofAdoption,
  } = await planAdoption(engine, layout, {
    ...{ adopt, registry: index.registry, choices, newCertificates, command },
  });
  const adopted = adoption?.certificates.pair;
  const { settings: wanted, chosen } = settingsFor(index, { ...adoption?.choices, ...choices }, served);
  const digest: Digest = `sha256:${bundle.digest}`;
  const addresses = await addressesServed(layout, digest, wanted.addresses, { adopted, newCertificates });
  const settings = { ...wanted, addresses };
  options.checkAddresses?.(addresses);
  const placement = await planPlacement(index, layout, digest);
  const certificates = isBlocked(adoption)
    ? keepAsTheyAre
    : await planCertificates(bundle, layout, {
        ...{ addresses, adopted, newCertificates, now },
        askPassphrase: options.askPassphrase,
        newCertificatesCommand: command({ newCertificates: true }),
        addressesCommand: adopted && ((others) => command({ addresses: others })),
      });
  const { action } = certificates;
  const { checkClients } = options;
  const findings = await asStep(reporter, async () =>
    preflight({
      ...{ index, digest, layout, engine, settings, typed, now },
      hasImage: async (image) => (await loadedImage(engine, bundle, layout, image)) !== undefined,
      addressesChosen: choices.addresses !== undefined,
      needed: await spaceNeeded(index, layout, placement.missing.values(), placement.files),
      serving: served && layout.root,
      certificates: {
        makes: action === "make" || action === "renew",
        findings: certificateFindings(certificates),
      },
      adoption: {
        record: adoption?.record ?? returning,
        findings: ofAdoption,
        maySay: !adopt && served === undefined,
      },
      downgrade: checkDowngrade(index, {
        ...{ served, records: await listReleases(layout), typed },
        allowed: options.allowDowngrade === true,
      }),
      checkClients: checkClients && (() => checkClients(addresses, index)),
    }),
  );
  return { served, settings, chosen, engine, placement, certificates, adoption, findings, command };
}

/** What is wrong with the certificates that would be taken over is told there. */
function isBlocked(adoption: Adoption | undefined): boolean {
  return adoption?.certificates.findings.some(({ level }) => level === "error") === true;
}

const keepAsTheyAre: CertificatePlan = {
  action: "keep",
  findings: [],
  pair: () => Promise.reject(new Error("they were not found")),
};

/** The step has failed if there are errors, though they are not thrown here. */
async function asStep(reporter: Reporter, work: () => Promise<Finding[]>): Promise<Finding[]> {
  const step = reporter.step("preflight");
  try {
    const findings = await work();
    const number = (level: Finding["level"]) => findings.filter((one) => one.level === level).length;
    if (number("error") > 0) step.failed();
    else step.done(number("warning") > 0 ? `${number("warning")} to look at` : "nothing stands in the way");
    return findings;
  } catch (error) {
    step.failed();
    throw error;
  }
}
