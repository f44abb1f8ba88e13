/**
 * The site's certificates: what an install will do about them, known before the first write, and the
 * doing. A site that has some keeps them while they cover its addresses, so that clients keep trusting.
 */
import { createPublicKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Bundle } from "../archive/reader.ts";
import { checkCertificates } from "../certificates/inspect.ts";
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
  const expected = { addresses: index.addresses, now: options.now };
  const present = await readPair(layout);
  const problems = present && checkCertificates(present, expected);
  if (present && problems?.length === 0) return { action: "keep", findings: [], pair: async () => present };
  if (index.certificates.from === "site")
    return planSiteCertificates(index.certificates.request, index.addresses, present, options.now);

  const carried = await carriedPair(bundle, options.askPassphrase);
  const findings: Finding[] = checkCertificates(carried, expected).map(({ problem, hint }) => ({
    check: "certificates",
    level: "error",
    text: problem,
    ...(hint === undefined ? {} : { hint }),
  }));
  if (present && !sameAuthority(present.ca, carried.ca)) {
    findings.push({
      check: "certificates",
      level: "error",
      text: `those at the site do not fit (${problems?.[0]?.problem}), and the bundle's come from another CA, which no client trusts yet`,
      hint: `Move ${layout.certs} away to take the bundle's, and run \`drydock trust\` for every client afterwards.`,
    });
  }
  return { action: "take", findings, pair: async () => carried };
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

function planSiteCertificates(
  request: { ca: unknown; server: unknown } | undefined,
  addresses: string[],
  present: Pair | undefined,
  now: Date,
): CertificatePlan {
  const requests = {
    ca: parseCertificateRequest(request?.ca, "the bundle's request for a CA"),
    server: parseCertificateRequest(request?.server, "the bundle's request for a server certificate"),
  };
  if (present?.caKey !== undefined) {
    const { ca, caKey } = present;
    return { action: "renew", findings: [], pair: () => renewed(ca, caKey, requests.server, addresses, now) };
  }
  const pair = async () => {
    const { authority, server } = await createSitePair(requests, addresses, now);
    return { ca: authority.certificate, caKey: authority.key, server: server.certificate, key: server.key };
  };
  return { action: "make", findings: [], pair };
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
  return new X509Certificate(one).fingerprint256 === new X509Certificate(other).fingerprint256;
}

async function readPair(layout: SiteLayout): Promise<Pair | undefined> {
  const [ca, server, key, caKey] = await Promise.all(
    [layout.caCertificate, layout.serverCertificate, layout.serverKey, layout.caKey].map(readIfThere),
  );
  if (ca === undefined || server === undefined || key === undefined) return undefined;
  return { ca, server, key, ...(caKey === undefined ? {} : { caKey }) };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
