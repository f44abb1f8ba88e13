/**
 * The site's certificates: what an install will do about them, known before the first write, and the
 * doing. A site that has some keeps them while they cover its addresses, so that clients keep trusting.
 */
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Bundle } from "../archive/reader.ts";
import { checkCertificates, readCertificate } from "../certificates/inspect.ts";
import { type CertificateRequest, parseCertificateRequest } from "../certificates/request.ts";
import { decryptKey } from "../certificates/secret.ts";
import { createSitePair, issueServer } from "../certificates/server.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Finding } from "./preflight.ts";

/** PEM texts. `caKey` only where the site is its own authority. */
interface Pair {
  ca: string;
  server: string;
  key: string;
  caKey?: string;
}

export interface CertificatePlan {
  /** keep: those at the site. take: the bundle's. make: a CA and a server certificate here. renew: a server certificate of the CA here. */
  action: "keep" | "take" | "make" | "renew";
  findings: Finding[];
  /** Gives what has to be written. Making keys takes a moment, so it is done only after preflight. */
  pair(): Promise<Pair>;
}

export interface CertificateOptions {
  /** what the certificate must speak for */
  addresses: string[];
  /** Called at most once, and only where the bundle's key is needed and encrypted. */
  askPassphrase: () => Promise<string>;
  now: Date;
}

/** @throws DrydockError "input" for a wrong passphrase; "integrity" if the bundle's certificates don't fit together. */
export async function planCertificates(
  bundle: Bundle,
  layout: SiteLayout,
  options: CertificateOptions,
): Promise<CertificatePlan> {
  const { index } = bundle;
  const expected = { addresses: options.addresses, now: options.now };
  const there = await readThere(layout);
  const present = isWhole(there) ? there : undefined;
  const problems = present && checkCertificates(present, expected);
  if (present && problems?.length === 0) return { action: "keep", findings: [], pair: async () => present };
  const otherAuthority = (what: string): Finding =>
    finding(
      `those at the site do not fit (${problems?.[0]?.problem ?? "they are not all there"}), and ${what}, which no client trusts yet`,
      `Move ${layout.certs} away to do so all the same, and run \`drydock trust\` for every client afterwards.`,
    );
  if (index.certificates.from === "site") return planSiteCertificates(index, there, otherAuthority, options);

  const carried = await carriedPair(bundle, options.askPassphrase);
  const findings = checkCertificates(carried, expected).map(({ problem, hint }) => finding(problem, hint));
  if (there.ca !== undefined && !sameAuthority(there.ca, carried.ca))
    findings.push(otherAuthority("the bundle's come from another CA"));
  return { action: "take", findings, pair: async () => carried };
}

function finding(text: string, hint?: string): Finding {
  return { check: "certificates", level: "error", text, ...(hint === undefined ? {} : { hint }) };
}

/** Writes what the plan gives; keys 0600. Writes nothing where all is there. */
export async function placeCertificates(plan: CertificatePlan, layout: SiteLayout): Promise<void> {
  if (plan.action === "keep") return;
  const { ca, server, key, caKey } = await plan.pair();
  await makeFolder(layout.certs);
  if (caKey !== undefined) await writeDurably(layout.caKey, caKey, { mode: 0o600 });
  await writeDurably(layout.serverKey, key, { mode: 0o600 });
  await writeDurably(layout.caCertificate, ca);
  await writeDurably(layout.serverCertificate, server);
}

/** A CA that is there is never replaced unasked: its key here signs again, or the plan says what is in the way. */
function planSiteCertificates(
  { certificates: { request } }: BundleIndex,
  { ca, caKey }: Partial<Pair>,
  otherAuthority: (what: string) => Finding,
  { addresses, now }: CertificateOptions,
): CertificatePlan {
  const requests = {
    ca: parseCertificateRequest(request?.ca, "the bundle's request for a CA"),
    server: parseCertificateRequest(request?.server, "the bundle's request for a server certificate"),
  };
  if (ca !== undefined && caKey !== undefined && canSign(ca, caKey, now)) {
    return { action: "renew", findings: [], pair: () => renewed(ca, caKey, requests.server, addresses, now) };
  }
  const pair = async () => {
    const { authority, server } = await createSitePair(requests, addresses, now);
    return { ca: authority.certificate, caKey: authority.key, server: server.certificate, key: server.key };
  };
  const findings = ca === undefined ? [] : [otherAuthority("new ones would come from a new CA")];
  return { action: "make", findings, pair };
}

/** Whether the key is the CA's, and the CA valid. */
function canSign(ca: string, caKey: string, now: Date): boolean {
  const certificate = readCertificate(ca, "CA certificate");
  if (now < certificate.validFromDate || certificate.validToDate <= now) return false;
  try {
    return certificate.checkPrivateKey(createPrivateKey(caKey));
  } catch {
    // A text that is no key is not the CA's key.
    return false;
  }
}

async function renewed(
  ca: string,
  caKey: string,
  request: CertificateRequest,
  addresses: string[],
  now: Date,
): Promise<Pair> {
  const server = await issueServer({ certificate: ca, key: caKey }, request, addresses, now);
  return { ca, caKey, server: server.certificate, key: server.key };
}

/** The pair in the bundle, its key decrypted. */
async function carriedPair(bundle: Bundle, askPassphrase: () => Promise<string>): Promise<Pair> {
  const { ca, server, key, keyEncrypted } = bundle.index.certificates;
  const text = (digest: Digest | undefined) => {
    const bytes = digest && bundle.certificates.get(digest);
    if (!bytes) throw new DrydockError("integrity", "read bundle: its certificates are not all there");
    return bytes.toString("utf8");
  };
  const plain = keyEncrypted ? await decryptKey(text(key), await askPassphrase()) : text(key);
  const pair = { ca: text(ca), server: text(server), key: plain };
  if (!fits(pair))
    throw new DrydockError("integrity", "read bundle: the server's key does not fit its certificate");
  return pair;
}

function fits({ server, key }: Pair): boolean {
  const spki = { type: "spki", format: "der" } as const;
  return new X509Certificate(server).publicKey.export(spki).equals(createPublicKey(key).export(spki));
}

function sameAuthority(one: string, other: string): boolean {
  const fingerprint = (pem: string) => readCertificate(pem, "CA certificate").fingerprint256;
  return fingerprint(one) === fingerprint(other);
}

async function readThere(layout: SiteLayout): Promise<Partial<Pair>> {
  const [ca, server, key, caKey] = await Promise.all(
    [layout.caCertificate, layout.serverCertificate, layout.serverKey, layout.caKey].map(readIfThere),
  );
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(server === undefined ? {} : { server }),
    ...(key === undefined ? {} : { key }),
    ...(caKey === undefined ? {} : { caKey }),
  };
}

function isWhole(pair: Partial<Pair>): pair is Pair {
  return pair.ca !== undefined && pair.server !== undefined && pair.key !== undefined;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
