/**
 * The receipt of an install: what was installed, where, how clients come to trust it, and how it was
 * proven. receipt.json has all of it; receipt.txt is a page to hand over (see receipt-page.ts). Neither
 * holds a secret.
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { type CertificateDescription, describeCertificate } from "../certificates/inspect.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import { jsonText, readJson } from "../site/json-file.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ServeSettings } from "../site/record.ts";
import type { Amount } from "./place.ts";
import type { Proof } from "./prove.ts";
import { receiptPage } from "./receipt-page.ts";
import type { StepTime, TimedReporter } from "./step-times.ts";

/** A proof, and when it was made: RFC 3339, in UTC. */
export interface DatedProof extends Proof {
  at: string;
}

export interface Receipt {
  formatVersion: 1;
  /** the bundle's */
  name: string;
  release: number;
  bundleDigest: Digest;
  result: "installed and proven";
  /** the site's host, as it calls itself */
  host: string;
  site: string;
  settings: ServeSettings;
  trust: {
    /** the CA's certificate on the site's host */
    ca: string;
    /** SHA-256, as OpenSSL prints it */
    fingerprint256: string;
    /** where Docker on a client looks for it: one file for each name or address that is used */
    docker: string[];
  };
  certificates: { ca: CertificateDescription; server: CertificateDescription };
  /** every tag of the bundle: `repository:tag` */
  images: { name: string; digest: Digest }[];
  done: Done;
  /** RFC 3339, in UTC */
  begunAt: string;
  endedAt: string;
  steps: StepTime[];
  /** the proof of this install */
  proof: DatedProof;
  /** the last one, of this install or of one that changed nothing */
  lastProof: DatedProof;
}

/** What an install did. */
export interface Done {
  placed: Amount;
  /** what all of the release takes here; absent where an earlier drydock wrote the receipt */
  total?: Amount;
  tagsMoved: number;
  certificates: "keep" | "take" | "make" | "renew";
  /** to the registry's container, if anything */
  container?: string;
}

export interface Installed {
  layout: SiteLayout;
  index: BundleIndex;
  bundleDigest: Digest;
  settings: ServeSettings;
  done: Done;
  proof: Proof;
  /** false: all of it was installed already, if not running */
  changed: boolean;
  times: TimedReporter;
}

/**
 * Writes both files, whole and on disk. Where nothing was changed and there is a receipt, only its last
 * proof is made anew.
 * @returns the page's path @throws DrydockError "host"
 */
export async function writeReceipt(installed: Installed): Promise<string> {
  const { layout, bundleDigest, proof, changed } = installed;
  const release = layout.release(bundleDigest);
  const endedAt = new Date().toISOString();
  const before = changed ? undefined : await readReceipt(layout, bundleDigest);
  const receipt = before
    ? { ...before, lastProof: { at: endedAt, ...proof } }
    : await makeReceipt(installed, endedAt);
  await makeFolder(release.folder);
  await writeDurably(release.receipt, jsonText(receipt));
  await writeDurably(release.receiptPage, receiptPage(receipt));
  return release.receiptPage;
}

/** A proof made later, by a rollback say, becomes the last one. Does nothing without a receipt. @throws DrydockError "host" */
export async function refreshLastProof(
  layout: SiteLayout,
  bundleDigest: Digest,
  proof: Proof,
): Promise<void> {
  const receipt = await readReceipt(layout, bundleDigest);
  if (receipt === undefined) return;
  const fresh = { ...receipt, lastProof: { at: new Date().toISOString(), ...proof } };
  const release = layout.release(bundleDigest);
  await writeDurably(release.receipt, jsonText(fresh));
  await writeDurably(release.receiptPage, receiptPage(fresh));
}

/** undefined if there is none, or none that this version knows. @throws DrydockError "host" if it cannot be read. */
export async function readReceipt(layout: SiteLayout, bundleDigest: Digest): Promise<Receipt | undefined> {
  const value = await readJson(layout.release(bundleDigest).receipt).catch((error: unknown) => {
    // One that is no JSON is made anew, too.
    if (error instanceof DrydockError && error.cause instanceof SyntaxError) return undefined;
    throw error;
  });
  return isReceipt(value) && value.bundleDigest === bundleDigest ? value : undefined;
}

function isReceipt(value: unknown): value is Receipt {
  if (typeof value !== "object" || value === null) return false;
  const receipt = value as Partial<Record<keyof Receipt, unknown>>;
  return receipt.formatVersion === 1 && typeof receipt.lastProof === "object" && receipt.lastProof !== null;
}

async function makeReceipt(
  { layout, index, bundleDigest, settings, done, proof, times }: Installed,
  endedAt: string,
): Promise<Receipt> {
  const describe = async (path: string) => describeCertificate(await readFile(path, "utf8"));
  const [ca, server] = await Promise.all([layout.caCertificate, layout.serverCertificate].map(describe));
  if (ca === undefined || server === undefined) throw new Error("two certificates were read");
  const dated = { at: endedAt, ...proof };
  const { name, release } = index;
  return {
    ...{ formatVersion: 1, name, release, bundleDigest, result: "installed and proven" },
    ...{ host: hostname(), site: layout.root, settings },
    trust: {
      ca: layout.caCertificate,
      fingerprint256: ca.fingerprint256,
      docker: dockerFiles(settings),
    },
    certificates: { ca, server },
    images: imagesOf(index),
    ...{ done, begunAt: times.begunAt.toISOString(), endedAt, steps: times.times },
    ...{ proof: dated, lastProof: dated },
  };
}

/** Every tag, as `repository:tag`. */
export function imagesOf({ repositories }: Pick<BundleIndex, "repositories">): Receipt["images"] {
  return Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.entries(tags).map(([tag, digest]) => ({ name: `${repository}:${tag}`, digest })),
  );
}

/**
 * https://docs.docker.com/engine/security/certificates/: the directory is called as the reference's host
 * is written, and that is without the port where it is 443. A client has no use for 127.0.0.1.
 */
function dockerFiles({ addresses, port }: ServeSettings): string[] {
  return addresses
    .filter((address) => address !== "127.0.0.1")
    .map((address) => `/etc/docker/certs.d/${hostPort(address, port)}/ca.crt`);
}

/** As it stands in a reference or a URL: the port only where it is not 443. */
export function hostPort(address: string, port: number): string {
  const host = isIP(address) === 6 ? `[${address}]` : address;
  return port === 443 ? host : `${host}:${port}`;
}
