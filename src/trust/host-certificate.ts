/**
 * Host certificates: what an authority says about a host's key, as OpenSSH's PROTOCOL.certkeys lays it out.
 * A certificate is public and needs no secrecy; what it proves is that the authority speaks for the key in it.
 * That the host holds this key is shown by the key exchange, as with any other key.
 */
import { createPublicKey, verify as verifySignature } from "node:crypto";
import ssh2 from "ssh2";
import { fingerprint, type HostKey, type KnownKey } from "./known-hosts.ts";
import { WireReader, wireString } from "./ssh-wire.ts";

export interface HostCertificate {
  /** the key that it speaks for */
  key: HostKey;
  /** 2 is a host's */
  type: number;
  keyId: string;
  principals: string[];
  /** seconds since 1970 */
  validAfter: bigint;
  validBefore: bigint;
  /** names of options that must be understood */
  criticalOptions: string[];
  authority: Buffer;
  signature: Buffer;
  /** what was signed */
  signed: Buffer;
}

/** How many fields the public key itself has. */
const keyFields: Record<string, number> = {
  "ssh-ed25519": 1,
  "ecdsa-sha2-nistp256": 2,
  "ecdsa-sha2-nistp384": 2,
  "ecdsa-sha2-nistp521": 2,
  "ssh-rsa": 2,
};

const suffix = "-cert-v01@openssh.com";

/** @returns undefined if it is none of the kinds that can be read, or is cut */
export function parseHostCertificate(blob: Buffer): HostCertificate | undefined {
  try {
    const reader = new WireReader(blob);
    const name = reader.string().toString("latin1");
    const type = name.endsWith(suffix) ? name.slice(0, -suffix.length) : "";
    const count = keyFields[type];
    if (count === undefined) return undefined;
    reader.string(); // nonce
    const fields = Array.from({ length: count }, () => wireString(reader.string()));
    const key = { type, blob: Buffer.concat([wireString(type), ...fields]) };
    reader.uint64(); // serial
    const certificate = {
      key,
      type: reader.uint32(),
      keyId: reader.string().toString("utf8"),
      principals: new WireReader(reader.string()).strings(),
      validAfter: reader.uint64(),
      validBefore: reader.uint64(),
      criticalOptions: new WireReader(reader.string()).strings(),
    };
    reader.string(); // extensions: none is defined for hosts, and unknown ones are ignored
    reader.string(); // reserved
    const authority = reader.string();
    const signed = blob.subarray(0, reader.at);
    const signature = reader.string();
    return reader.atEnd ? { ...certificate, authority, signature, signed } : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/**
 * Judges a certificate, as OpenSSH does with one that a host shows.
 * @param host the name in known_hosts, without a port
 * @returns the key it speaks for, or why it doesn't count: a clause that begins with "its certificate"
 */
export function judgeCertificate(
  certificate: HostCertificate,
  host: string,
  known: { authorities: readonly KnownKey[]; revoked: readonly KnownKey[] },
  now = BigInt(Math.floor(Date.now() / 1000)),
): HostKey | string {
  const { authority, key, principals } = certificate;
  const by = (blob: Buffer) => (one: KnownKey) => one.blob.equals(blob);
  if (known.revoked.some(by(authority)))
    return `its certificate's authority ${fingerprint(authority)} is revoked`;
  if (!known.authorities.some(by(authority)))
    return `its certificate is of another authority (${fingerprint(authority)})`;
  if (!isSigned(certificate)) return "its certificate's signature is wrong";
  if (certificate.type !== 2) return "its certificate is a user's, not a host's";
  if (now < certificate.validAfter)
    return `its certificate is valid only from ${date(certificate.validAfter)}`;
  if (now >= certificate.validBefore) return `its certificate has ended on ${date(certificate.validBefore)}`;
  // Whole names, no patterns. An empty list once meant "any host", which newer OpenSSH takes back.
  if (!principals.includes(host.toLowerCase()))
    return `its certificate is for other names (${principals.join(", ") || "none"})`;
  if (certificate.criticalOptions.length > 0) return "its certificate has options that are not known";
  return key;
}

function date(seconds: bigint): string {
  // 2^64-1 stands for "always"; a Date ends at 8.64e15 ms.
  return seconds > 8_640_000_000_000n ? "never" : new Date(Number(seconds) * 1000).toISOString();
}

/** RFC 8332, RFC 5656 section 3.1.2, RFC 8709 section 6. An "ssh-rsa" signature is SHA-1: not taken. */
const hashes: Record<string, string | null> = {
  "ssh-ed25519": null,
  "ecdsa-sha2-nistp256": "sha256",
  "ecdsa-sha2-nistp384": "sha384",
  "ecdsa-sha2-nistp521": "sha512",
  "rsa-sha2-256": "sha256",
  "rsa-sha2-512": "sha512",
};

/** Whether the authority has signed it; an authority's key or a signature that can't be read is no yes. */
function isSigned(certificate: HostCertificate): boolean {
  try {
    return verifies(certificate);
  } catch {
    return false;
  }
}

function verifies({ authority, signature, signed }: HostCertificate): boolean {
  const parsed = ssh2.utils.parseKey(authority);
  if (parsed instanceof Error) return false;
  const reader = new WireReader(signature);
  const algorithm = reader.string().toString("latin1");
  const value = reader.string();
  const hash = hashes[algorithm];
  const fits = algorithm === parsed.type || (parsed.type === "ssh-rsa" && algorithm.startsWith("rsa-sha2-"));
  if (hash === undefined || !fits || !reader.atEnd) return false;
  const key = createPublicKey(parsed.getPublicPEM());
  if (!algorithm.startsWith("ecdsa-")) return verifySignature(hash, signed, key, value);
  const size = { sha256: 32, sha384: 48, sha512: 66 }[hash ?? ""] ?? 0;
  const numbers = new WireReader(value);
  const [r, s] = [numbers.number(size), numbers.number(size)];
  return verifySignature(hash, signed, { key, dsaEncoding: "ieee-p1363" }, Buffer.concat([r, s]));
}
