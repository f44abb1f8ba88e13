/**
 * `drydock status`: what is installed at a site, whether it serves as it should, and what to do about what
 * is wrong. It writes nothing and takes no lock, so it can run at any time, also during an install; where
 * the engine is down, or this user may not see something, the rest is looked at all the same.
 */
import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import { connectEngine } from "../engine/engine.ts";
import { DrydockError, type ErrorKind, errorCode } from "../errors.ts";
import { lockHolder } from "../lock.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep, silentReporter } from "../reporter.ts";
import { type AdoptedRecord, readAdopted } from "../site/adopted.ts";
import { type Journal, readInterrupted, readInterruptedPrune } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { leftAt } from "../site/marker.ts";
import {
  currentRelease,
  findSite,
  listReleases,
  type ReleaseRecord,
  type ServeSettings,
} from "../site/record.ts";
import { type Finding, findingOf } from "./finding.ts";
import { minute, setTheClock } from "./preflight-system.ts";
import { type DatedProof, hostPort, readReceipt } from "./receipt.ts";
import { type KeptRelease, readKept, recordedOf } from "./recorded.ts";
import { adoptedName } from "./registry-container.ts";
import { checkAction, goesOn, withoutHint } from "./status-action.ts";
import { type CertificatesStatus, certificatesStatus, expiry } from "./status-certificates.ts";
import { fileFindings, filesCheck } from "./status-files.ts";
import {
  type ContainerStatus,
  type EngineStatus,
  engineFinding,
  type RegistryStatus,
  registryStatus,
} from "./status-registry.ts";
import { hashStorage, lookAtStorage, type StorageFound } from "./status-storage.ts";
import { storage as storageCheck, storageFindings } from "./storage-findings.ts";

export interface ReleaseStatus {
  name: string;
  release: number;
  bundleDigest: Digest;
  /** RFC 3339, in UTC */
  installedAt: string;
  rolledBackAt?: string;
  /** how many tags it has */
  images: number;
  current: boolean;
}

export interface StorageStatus extends StorageFound {
  path: string;
  /** what all releases that are kept have there together, as recorded */
  blobs: number;
  bytes: number;
  /** on its file system, for whoever asks; absent if that is not to be known */
  free?: number;
  size?: number;
  /** sizes: every blob is there with its size. digests: every blob was read and hashed, too. */
  checked: "sizes" | "digests";
}

export interface SiteStatus {
  site: string;
  /** the registry's name, as a reference begins with it */
  address: string;
  addresses: string[];
  port: number;
  access: ServeSettings["access"];
  release: ReleaseStatus;
  /** in the order in which they were installed */
  releases: ReleaseStatus[];
  /** present if what was there before drydock was taken over, and is kept to be given back */
  adopted?: { at: string; container?: string; returningSince?: string };
  /** how many tags the releases in effect have together */
  images: number;
  storage: StorageStatus;
  certificates: CertificatesStatus;
  engine: EngineStatus;
  container: ContainerStatus;
  lastProof?: DatedProof;
  findings: Finding[];
  healthy: boolean;
}

export interface StatusOptions {
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** read and hash every blob */
  deep?: boolean;
  now?: Date;
}

/** @throws DrydockError "input" if nothing is installed there, "host" if its records cannot be read. */
export async function siteStatus(
  options: StatusOptions,
  reporter: Reporter = silentReporter,
): Promise<SiteStatus> {
  const layout = await findSite(options.site);
  const now = options.now ?? new Date();
  const current = await currentRelease(layout);
  const adopted = await readAdopted(layout).catch(() => undefined);
  const journal = (await readInterrupted(layout)) ?? (await readInterruptedPrune(layout));
  const holder = await lockHolder("site", layout.root);
  if (current === undefined) throw nothingInstalled(layout, journal, holder, await leftAt(layout));
  const releases = await listReleases(layout);
  const { settings } = current;
  const [registry, { certificates, findings: ofCertificates }, stored] = await Promise.all([
    lookAtRegistry(layout, current),
    certificatesStatus(layout, current, now),
    storageStatus(layout, releases, current, journal),
  ]);
  const deep = options.deep === true ? await hashed(layout, stored, reporter) : stored;
  const receipt = await readReceipt(layout, current.bundleDigest).catch(() => undefined);
  const shown = journal === undefined ? [] : [journal.filesBefore ?? {}, journal.filesAfter ?? {}];
  const served = [
    ...registry.findings,
    ...ofCertificates,
    ...(await fileFindings(layout, deep.recorded.files, shown, options.deep === true)),
  ];
  const findings = [
    ...checkAction(journal, holder),
    // What was interrupted mends the rest, once its port is free.
    ...(journal === undefined
      ? served
      : served.map((one) => (one.check === "port" ? one : withoutHint(one)))),
    ...checkClock(current, now),
    ...(await checkMounts(layout)),
    ...deep.findings,
    ...storageFindings(deep.storage, current),
  ];
  if (!findings.some(({ check }) => check === storageCheck)) {
    findings.push({ check: storageCheck, level: "ok", text: soundText(deep.storage) });
  }
  const all = releases.map((one) => releaseStatus(one, current));
  return {
    ...{ site: layout.root, address: hostPort(settings.addresses[0] ?? "127.0.0.1", settings.port) },
    ...settings,
    release: releaseStatus(current, current),
    releases: all,
    ...(adopted === undefined ? {} : { adopted: adoptedStatus(adopted) }),
    images: deep.images,
    storage: deep.storage,
    certificates,
    ...{ engine: registry.engine, container: registry.container },
    ...(receipt === undefined ? {} : { lastProof: receipt.lastProof }),
    findings,
    healthy: whatIsWrong(findings) === undefined,
  };
}

/**
 * The kind of failure, for the exit code; undefined if all is well. Damage comes first, since it is what
 * clients may be served; a certificate's end has its own code only where nothing else is wrong.
 */
export function whatIsWrong(findings: readonly Finding[]): ErrorKind | undefined {
  const errors = findings.filter(({ level }) => level === "error");
  if (errors.some(({ check }) => check === storageCheck || check === filesCheck)) return "integrity";
  if (errors.some(({ check }) => check !== expiry)) return "host";
  return findings.some(({ check }) => check === expiry) ? "certificate" : undefined;
}

function adoptedStatus({
  adoptedAt,
  container,
  returningSince,
}: AdoptedRecord): NonNullable<SiteStatus["adopted"]> {
  return {
    at: adoptedAt,
    ...(container === undefined ? {} : { container: adoptedName }),
    ...(returningSince === undefined ? {} : { returningSince }),
  };
}

function nothingInstalled(
  layout: SiteLayout,
  journal: Journal | undefined,
  holder: number | undefined,
  left: string | undefined,
): DrydockError {
  const where = `look at site ${JSON.stringify(layout.root)}: nothing is installed there`;
  if (holder !== undefined) return new DrydockError("input", `${where} yet; an install is under way`);
  if (left !== undefined) {
    return new DrydockError(
      "input",
      `${where} but data kept by \`drydock uninstall\` on ${left.slice(0, 10)}`,
      {
        hint: "`drydock install BUNDLE --adopt` takes them over, `drydock uninstall --delete-data` deletes them.",
      },
    );
  }
  if (journal === undefined) {
    return new DrydockError("input", where, {
      hint: "Install a bundle first, or name the site's directory with --site.",
    });
  }
  const text = `${where} yet; the install of ${journal.name}, release ${journal.release}, was interrupted`;
  return new DrydockError("input", text, { hint: goesOn(journal) });
}

async function lookAtRegistry(layout: SiteLayout, current: ReleaseRecord): Promise<RegistryStatus> {
  const address = process.env.DOCKER_HOST ?? "";
  try {
    return await registryStatus(connectEngine(), layout, current);
  } catch (error) {
    const container: ContainerStatus = { name: "registry", state: "unknown" };
    return { engine: { address, answers: false }, container, findings: [engineFinding(error)] };
  }
}

interface Stored {
  storage: StorageStatus;
  images: number;
  findings: Finding[];
  recorded: ReturnType<typeof recordedOf>;
}

async function storageStatus(
  layout: SiteLayout,
  records: readonly ReleaseRecord[],
  current: ReleaseRecord,
  journal: Journal | undefined,
): Promise<Stored> {
  const kept: KeptRelease[] = [];
  const findings: Finding[] = [];
  for (const record of records) {
    try {
      kept.push(await readKept(layout, record));
    } catch (error) {
      if (!(error instanceof DrydockError)) throw error;
      const hint = `\`drydock install BUNDLE\`, with the bundle of ${record.name}, release ${record.release}, writes it again.`;
      findings.push({ ...findingOf(error, storageCheck), hint });
    }
  }
  const recorded = recordedOf(layout, kept, current.bundleDigest);
  const also = journal === undefined ? [] : [journal.tagsBefore, journal.tagsAfter];
  const found = await lookAtStorage(layout, recorded, also);
  const space = await statfs(layout.storage).catch(() => undefined);
  const storage: StorageStatus = {
    path: layout.storage,
    blobs: recorded.blobs.length,
    bytes: recorded.blobs.reduce((sum, { size }) => sum + size, 0),
    ...(space && { free: space.bavail * space.bsize, size: space.blocks * space.bsize }),
    checked: "sizes",
    ...found,
  };
  return { storage, images: recorded.tags.length, findings, recorded };
}

async function hashed(layout: SiteLayout, stored: Stored, reporter: Reporter): Promise<Stored> {
  const { storage, recorded } = stored;
  const known = new Set([...storage.damaged.map(({ path }) => path), ...storage.denied]);
  const { damaged, denied } = await runStep(
    reporter,
    "read storage",
    (step) => hashStorage(layout, recorded.blobs, known, step),
    (found) => `${recorded.blobs.length} blobs, ${storage.damaged.length + found.damaged.length} damaged`,
  );
  return {
    ...stored,
    storage: {
      ...storage,
      checked: "digests",
      damaged: [...storage.damaged, ...damaged],
      denied: [...storage.denied, ...denied],
    },
  };
}

function soundText({ blobs, checked }: StorageStatus): string {
  return checked === "digests"
    ? `${blobs} blobs were read, each is what its digest says`
    : `${blobs} blobs are there, each with its size`;
}

/** Clocks differ a little. */
const tolerance = 5 * 60_000;

function checkClock({ installedAt }: ReleaseRecord, now: Date): Finding[] {
  if (now.getTime() >= Date.parse(installedAt) - tolerance) return [];
  const text = `this host's clock says ${minute(now)}, and the last install was on ${minute(new Date(installedAt))}`;
  return [{ check: "clock", level: "error", text, hint: setTheClock }];
}

/** Linux mounts a file system read-only by itself when its disk fails. */
async function checkMounts(layout: SiteLayout): Promise<Finding[]> {
  const mayWrite = (path: string) => access(path, constants.W_OK).then(() => undefined, errorCode);
  const folders = [layout.root, layout.storage];
  const codes = await Promise.all(folders.map(mayWrite));
  const path = folders.find((_, at) => codes[at] === "EROFS");
  if (path === undefined) return [];
  const hint =
    "Look why with `dmesg`: a disk that fails is mounted so. Until it is writable, nothing can be installed.";
  return [{ check: "disk", level: "error", text: `the file system of ${path} is mounted read-only`, hint }];
}

function releaseStatus(record: ReleaseRecord, current: ReleaseRecord): ReleaseStatus {
  const { name, release, bundleDigest, installedAt, rolledBackAt } = record;
  return {
    ...{ name, release, bundleDigest, installedAt },
    ...(rolledBackAt === undefined ? {} : { rolledBackAt }),
    images: Object.values(record.tagsAfter).reduce((sum, tags) => sum + Object.keys(tags).length, 0),
    current: bundleDigest === current.bundleDigest,
  };
}
