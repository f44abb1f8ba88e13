/**
 * The site's certificates: what an install will do about them, known before the first write, and the
 * doing. A site that has some keeps them while they cover its addresses, so that clients keep trusting.
 */
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Bundle } from "../archive/reader.ts";
import { checkCertificates, readCertificate } from "../certificates/inspect.ts";
import {
  type CertificateRequest,
  defaultAuthorityRequest,
  defaultServerRequest,
  parseCertificateRequest,
} from "../certificates/request.ts";
import { decryptKey, WrongPassphrase } from "../certificates/secret.ts";
import { createSitePair, issueServer } from "../certificates/server.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { readInterrupted } from "../site/journal.ts";
import { type CertificateFiles, readCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import {
  type CertificateExpectations,
  endingSoon,
  notYet,
  otherAuthority,
  problemsOf,
  replacesAuthority,
} from "./certificate-findings.ts";
import { certificatesBefore } from "./change.ts";
import type { Finding } from "./finding.ts";
import { loopback } from "./settings.ts";

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
  /** Gives all that the site will have. Making keys takes a moment, so it is done only after preflight. */
  pair(): Promise<Pair>;
}

/** @param wrong what came of the last answer, if there was one: to be thrown where nobody has another */
export type AskPassphrase = (wrong?: WrongPassphrase) => Promise<string>;

/** A code is soon mistyped, and a bundle from a pipe does not come twice. */
const answersTaken = 3;

export interface CertificateOptions extends CertificateExpectations {
  /**
   * Called only where the bundle's key is needed and encrypted. Undefined: the key stays closed, as in a dry run,
   * and the plan can't be carried out.
   */
  askPassphrase: AskPassphrase | undefined;
  /** make new ones here, whatever is there */
  newCertificates?: boolean | undefined;
  /** those of a registry that is taken over: they stay, or the plan says what is in the way */
  adopted?: Pick<Pair, "ca" | "server" | "key"> | undefined;
}

/** @throws DrydockError "input" for a wrong passphrase; "integrity" if the bundle's certificates don't fit together. */
export async function planCertificates(
  bundle: Bundle,
  layout: SiteLayout,
  options: CertificateOptions,
): Promise<CertificatePlan> {
  const there = { ...(await readThere(layout, `sha256:${bundle.digest}`)), ...options.adopted };
  const plan = await planBeside(there, bundle, options);
  // A CA's key that is there stays, also beside another CA: it is nowhere else.
  return { ...plan, pair: async () => ({ ...there, ...(await plan.pair()) }) };
}

async function planBeside(
  there: Partial<Pair>,
  bundle: Bundle,
  options: CertificateOptions,
): Promise<CertificatePlan> {
  const present = isWhole(there) ? there : undefined;
  if (options.newCertificates) return planNew(bundle.index, there, options);
  const problems = present && checkCertificates(present, options);
  if (present !== undefined && problems !== undefined && options.adopted !== undefined) {
    const ending = problems.length === 0 ? endingSoon(present.server, options) : undefined;
    return keep(present, ending ? [ending] : problemsOf(problems, present, options));
  }
  const fits = present !== undefined && problems?.length === 0;
  const ending = fits ? endingSoon(present.server, options) : undefined;
  if (fits && ending === undefined) return keep(present, []);
  const misfit = problems?.[0]?.problem ?? "they are not all there";
  const ours =
    bundle.index.certificates.from === "site"
      ? planSiteCertificates(bundle.index, there, misfit, options)
      : undefined;
  if (fits && ending !== undefined) {
    // What still fits is replaced ahead of its end only by what clients trust already, and that ends later.
    const better = ours === undefined ? isBetter(bundle, present, options) : ours.action === "renew";
    if (!better) return keep(present, [ending]);
  }
  return ours ?? (await planCarried(bundle, there, misfit, options));
}

function keep(present: Pair, findings: Finding[]): CertificatePlan {
  return { action: "keep", findings, pair: async () => present };
}

/**
 * The addresses that will be served: without 127.0.0.1 where the certificate that stays does not name it, as
 * one that drydock did not make may not; clients never ask there.
 */
export async function addressesServed(
  layout: SiteLayout,
  bundleDigest: Digest,
  addresses: string[],
  { adopted, newCertificates }: Pick<CertificateOptions, "adopted" | "newCertificates">,
): Promise<string[]> {
  const server = adopted?.server ?? (await readThere(layout, bundleDigest)).server;
  if (server === undefined || newCertificates || addresses.length === 1) return addresses;
  const names = readCertificate(server, "server certificate").checkIP(loopback) !== undefined;
  return names ? addresses : addresses.filter((address) => address !== loopback);
}

/** What a plan gives, as it will be kept. */
export async function plannedFiles({ pair }: CertificatePlan): Promise<CertificateFiles> {
  const { ca, server, key, caKey } = await pair();
  const bytes = (text: string) => Buffer.from(text);
  return { ca: bytes(ca), server: bytes(server), key: bytes(key), caKey: caKey ? bytes(caKey) : undefined };
}

/** A CA that is there is never replaced unasked: its key here signs again, or the plan says what is in the way. */
function planSiteCertificates(
  index: BundleIndex,
  there: Partial<Pair>,
  misfit: string,
  options: CertificateOptions,
): CertificatePlan {
  const plan = planNew(index, there, options);
  if (plan.action === "renew" || there.ca === undefined) return plan;
  const findings = [otherAuthority(misfit, "new ones would come from a new CA", options)];
  return { ...plan, findings: [...plan.findings.filter(({ level }) => level === "error"), ...findings] };
}

/** A server certificate of the CA here if its key is here, else a new CA as well. */
function planNew(
  index: BundleIndex,
  { ca, caKey }: Partial<Pair>,
  { addresses, now }: CertificateOptions,
): CertificatePlan {
  const requests = requestsOf(index, addresses);
  const signing = ca === undefined || caKey === undefined ? "no" : canSign(ca, caKey, now);
  if (ca !== undefined && caKey !== undefined && signing !== "no") {
    const findings = signing === "not yet" ? [notYet([ca], now)] : [];
    return { action: "renew", findings, pair: () => renewed(ca, caKey, requests.server, addresses, now) };
  }
  const pair = async () => {
    const { authority, server } = await createSitePair(requests, addresses, now);
    return { ca: authority.certificate, caKey: authority.key, server: server.certificate, key: server.key };
  };
  return { action: "make", findings: ca === undefined ? [] : [replacesAuthority()], pair };
}

function requestsOf(
  { name, certificates: { from, request } }: BundleIndex,
  addresses: string[],
): { ca: CertificateRequest; server: CertificateRequest } {
  if (from === "bundle") {
    return { ca: defaultAuthorityRequest(name), server: defaultServerRequest(addresses[0] ?? name) };
  }
  return {
    ca: parseCertificateRequest(request?.ca, "the bundle's request for a CA"),
    server: parseCertificateRequest(request?.server, "the bundle's request for a server certificate"),
  };
}

/** Whether the key is the CA's, and the CA valid by this clock. */
function canSign(ca: string, caKey: string, now: Date): "yes" | "no" | "not yet" {
  const certificate = readCertificate(ca, "CA certificate");
  if (certificate.validToDate <= now) return "no";
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(caKey))) return "no";
  } catch {
    // A text that is no key is not the CA's key.
    return "no";
  }
  return now < certificate.validFromDate ? "not yet" : "yes";
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

/** The bundle's own. All that can be known of them without their key is found before it is asked for. */
async function planCarried(
  bundle: Bundle,
  there: Partial<Pair>,
  misfit: string,
  options: CertificateOptions,
): Promise<CertificatePlan> {
  const { keyEncrypted } = bundle.index.certificates;
  const { ca, server, key } = carriedTexts(bundle);
  const findings = problemsOf(checkCertificates({ ca, server }, options), { ca, server }, options);
  if (there.ca !== undefined && !sameAuthority(there.ca, ca))
    findings.push(otherAuthority(misfit, "the bundle's come from another CA", options));
  const { askPassphrase } = options;
  if (findings.length > 0 || (keyEncrypted && askPassphrase === undefined)) {
    const pair = () => Promise.reject(new Error("the bundle's key was not opened"));
    return { action: "take", findings, pair };
  }
  const plain = keyEncrypted && askPassphrase ? await openKey(key, askPassphrase) : key;
  const pair = { ca, server, key: plain };
  if (!fits(pair))
    throw new DrydockError("integrity", "read bundle: the server's key does not fit its certificate");
  return { action: "take", findings, pair: async () => pair };
}

async function openKey(encrypted: string, ask: AskPassphrase): Promise<string> {
  let wrong: WrongPassphrase | undefined;
  for (let answers = 0; answers < answersTaken; answers += 1) {
    const passphrase = await ask(wrong);
    try {
      return await decryptKey(encrypted, passphrase);
    } catch (error) {
      if (!(error instanceof WrongPassphrase)) throw error;
      wrong = error;
    }
  }
  throw wrong;
}

/** The texts in the bundle; the key may be encrypted. */
function carriedTexts({ index, certificates }: Bundle): { ca: string; server: string; key: string } {
  const { ca, server, key } = index.certificates;
  const text = (digest: Digest | undefined) => {
    const bytes = digest && certificates.get(digest);
    if (!bytes) throw new DrydockError("integrity", "read bundle: its certificates are not all there");
    return bytes.toString("utf8");
  };
  return { ca: text(ca), server: text(server), key: text(key) };
}

/** Whether the bundle's server certificate is of the same CA, fits as well, and ends later. */
function isBetter(bundle: Bundle, present: Pair, options: CertificateOptions): boolean {
  const carried = carriedTexts(bundle);
  const end = (pem: string) => readCertificate(pem, "server certificate").validToDate.getTime();
  if (!sameAuthority(present.ca, carried.ca) || end(carried.server) <= end(present.server)) return false;
  return checkCertificates({ ca: carried.ca, server: carried.server }, options).length === 0;
}

function fits({ server, key }: Pair): boolean {
  const spki = { type: "spki", format: "der" } as const;
  return new X509Certificate(server).publicKey.export(spki).equals(createPublicKey(key).export(spki));
}

function sameAuthority(one: string, other: string): boolean {
  const fingerprint = (pem: string) => readCertificate(pem, "CA certificate").fingerprint256;
  return fingerprint(one) === fingerprint(other);
}

/**
 * Those that are at the site: of an install that was cut short, what it was about to show if it goes on now, and
 * what was there before it if another bundle is installed. Where not all are, those that the registry is served with.
 * @throws DrydockError "host"
 */
async function readThere(layout: SiteLayout, bundleDigest: Digest): Promise<Partial<Pair>> {
  const journal = await readInterrupted(layout);
  const goesOn = journal?.action === "install" && journal.bundleDigest === bundleDigest;
  const set = goesOn ? journal.certificatesAfter : undefined;
  const there = textsOf(
    set === undefined
      ? await certificatesBefore(layout, goesOn ? undefined : journal)
      : await readCertificates(layout.certificateSet(set)),
  );
  if (isWhole(there)) return there;
  // Somebody may have removed one from certs/: the registry is served with it all the same, and clients trust it.
  const { certificates } = await readMarker(layout);
  const served = certificates && textsOf(await readCertificates(layout.certificateSet(certificates)));
  return served && isWhole(served) ? served : there;
}

function textsOf(files: CertificateFiles): Partial<Pair> {
  const there = Object.entries(files).filter(([, bytes]) => bytes !== undefined);
  return Object.fromEntries(there.map(([name, bytes]) => [name, bytes.toString("utf8")]));
}

function isWhole(pair: Partial<Pair>): pair is Pair {
  return pair.ca !== undefined && pair.server !== undefined && pair.key !== undefined;
}
