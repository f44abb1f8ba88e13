/** The registry's server certificate, signed by the authority. */
import { X509Certificate } from "node:crypto";
import { DrydockError } from "../errors.ts";
import { checkAddresses } from "./addresses.ts";
import { createAuthority } from "./authority.ts";
import { day } from "./duration.ts";
import { type CertificateRequest, defaultKeySize } from "./request.ts";
import {
  backdate,
  derOf,
  type KeyPair,
  keyIdentifierOf,
  makeKey,
  signCertificate,
  subjectIn,
  subjectOf,
} from "./x509.ts";

/** Apple's systems refuse a server certificate that is valid for longer than 825 days. */
const longestLife = 825 * day;

/** Every server certificate has it: the registry is proven on its own host, without DNS. */
const loopback = "127.0.0.1";

/** What a server certificate for this request and these addresses names, in this order. */
export function serverNames(
  request: CertificateRequest,
  addresses: readonly string[],
): { names: string[]; ips: string[] } {
  return checkAddresses([...addresses, ...request.hosts, loopback]);
}

/**
 * @param addresses names and IP addresses of the registry; the request's own `hosts` are added.
 * @param now the clock, for tests.
 * @throws DrydockError "input" for an impossible address; "certificate" if the authority has ended or not yet begun.
 */
export async function issueServer(
  authority: KeyPair,
  request: CertificateRequest,
  addresses: readonly string[],
  now = new Date(),
): Promise<KeyPair> {
  const { names, ips } = serverNames(request, addresses);
  const issuer = new X509Certificate(authority.certificate);
  const issuerName = subjectIn(issuer.raw);
  const subject = subjectOf(request);
  if (derOf(subject).equals(derOf(issuerName))) {
    throw new DrydockError("input", "issue server certificate: its subject is the same as its authority's", {
      hint: "Give the server another CN than the authority; verifiers take it for self-signed otherwise.",
    });
  }
  const { notBefore, notAfter } = validity(issuer, now);
  const { publicKey, key } = await makeKey(request.key?.size ?? defaultKeySize);
  const altNames = [...names.map((value) => ({ type: 2, value })), ...ips.map((ip) => ({ type: 7, ip }))];
  const extensions = [
    { name: "basicConstraints", critical: true, cA: false },
    { name: "keyUsage", critical: true, digitalSignature: true, keyEncipherment: true },
    { name: "extKeyUsage", serverAuth: true },
    { name: "subjectKeyIdentifier" },
    { name: "authorityKeyIdentifier", keyIdentifier: keyIdentifierOf(issuer.raw) },
    { name: "subjectAltName", altNames },
  ];
  const content = { publicKey, subject, issuer: issuerName, notBefore, notAfter, extensions };
  return { certificate: await signCertificate(content, authority.key), key };
}

/** As long as is allowed, and never beyond the authority's own end. */
function validity(issuer: X509Certificate, now: Date): { notBefore: Date; notAfter: Date } {
  const end = issuer.validToDate.getTime();
  if (end <= now.getTime()) {
    throw new DrydockError(
      "certificate",
      `issue server certificate: its authority ended on ${issuer.validTo}`,
    );
  }
  if (issuer.validFromDate.getTime() > now.getTime()) {
    throw new DrydockError(
      "certificate",
      `issue server certificate: its authority begins on ${issuer.validFrom}`,
      {
        hint: "Look at this machine's clock.",
      },
    );
  }
  const notBefore = new Date(now.getTime() - backdate);
  // Both ends count (RFC 5280, 4.1.2.5), so the last second is the one before 825 days are full.
  return { notBefore, notAfter: new Date(Math.min(notBefore.getTime() + longestLife - 1000, end)) };
}

/** Both pairs made in one place, for a site that makes its own: the caller keeps the authority's key. */
export async function createSitePair(
  requests: { ca: CertificateRequest; server: CertificateRequest },
  addresses: readonly string[],
  now = new Date(),
): Promise<{ authority: KeyPair; server: KeyPair }> {
  const authority = await createAuthority(requests.ca, now);
  return { authority, server: await issueServer(authority, requests.server, addresses, now) };
}
