/** The certificate authority: a self-signed CA certificate with its key. */
import { hour, parseDuration } from "./duration.ts";
import { type CertificateRequest, defaultKeySize } from "./request.ts";
import { backdate, type KeyPair, makeKey, signCertificate, subjectOf } from "./x509.ts";

/** Five years, cfssl's own. */
const defaultLifetime = 43_800 * hour;

/** @param now the clock, for tests; the certificate is valid from five minutes before. */
export async function createAuthority(request: CertificateRequest, now = new Date()): Promise<KeyPair> {
  const { publicKey, key } = await makeKey(request.key?.size ?? defaultKeySize);
  const subject = subjectOf(request);
  const notBefore = new Date(now.getTime() - backdate);
  const certificate = await signCertificate(
    {
      publicKey,
      subject,
      issuer: subject,
      notBefore,
      notAfter: new Date(notBefore.getTime() + authorityLifetime(request)),
      extensions: [
        { name: "basicConstraints", critical: true, cA: true, pathLenConstraint: request.ca?.pathlen ?? 0 },
        { name: "keyUsage", critical: true, keyCertSign: true, cRLSign: true },
        { name: "subjectKeyIdentifier" },
      ],
    },
    key,
  );
  return { certificate, key };
}

/** in milliseconds */
function authorityLifetime(request: CertificateRequest): number {
  const expiry = request.ca?.expiry;
  return expiry === undefined ? defaultLifetime : parseDuration(expiry, "ca.expiry");
}
