/**
 * Private key files for SSH: read, and told apart into usable, encrypted and neither.
 */
import { createPrivateKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import ssh2, { type ParsedKey } from "ssh2";
import { WireReader } from "./ssh-wire.ts";

export type KeyFile =
  | { state: "usable"; key: ParsedKey }
  /** the public half as it goes over the wire, where it can be had without the passphrase */
  | { state: "encrypted"; publicKey?: Buffer; unlock: (passphrase: string) => ParsedKey | undefined }
  | { state: "no key" };

/** @throws the file system's error if the file can't be read */
export async function readKeyFile(file: string): Promise<KeyFile> {
  const pem = await readFile(file, "latin1");
  const { encrypted, publicKey } = encryption(pem);
  if (!encrypted) {
    const key = parsePrivate(pem);
    return key === undefined ? { state: "no key" } : { state: "usable", key };
  }
  const known = publicKey ?? (await publicHalf(`${file}.pub`));
  const unlock = (passphrase: string) => parsePrivate(pem, passphrase);
  return { state: "encrypted", unlock, ...(known === undefined ? {} : { publicKey: known }) };
}

/** @returns undefined if it is no private key, or the passphrase is wrong */
function parsePrivate(pem: string, passphrase?: string): ParsedKey | undefined {
  const text = pem.includes("PRIVATE KEY") ? withoutPkcs8(pem, passphrase) : pem;
  if (text === undefined) return undefined;
  // ssh2 takes the empty string as no passphrase.
  const parsed: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(text, passphrase || undefined);
  const [first] = Array.isArray(parsed) ? parsed : [parsed];
  return first instanceof Error || !first?.isPrivateKey() ? undefined : first;
}

/** ssh2 reads no PKCS#8: RSA and EC keys have an older form (RFC 8017 appendix A, RFC 5915) that it does. */
function withoutPkcs8(pem: string, passphrase: string | undefined): string | undefined {
  if (!/-----BEGIN (?:ENCRYPTED )?PRIVATE KEY-----/.test(pem)) return pem;
  try {
    const key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
    const type = key.asymmetricKeyType === "rsa" ? "pkcs1" : "sec1";
    return key.export({ format: "pem", type }).toString();
  } catch {
    return undefined;
  }
}

async function publicHalf(file: string): Promise<Buffer | undefined> {
  const text = await readFile(file, "latin1").catch(() => "");
  const parsed = ssh2.utils.parseKey(text);
  return parsed instanceof Error ? undefined : parsed.getPublicSSH();
}

/** RFC 1421 ("Proc-Type"), RFC 7468 section 11, and OpenSSH's PROTOCOL.key, where the public key is in clear. */
function encryption(pem: string): { encrypted: boolean; publicKey?: Buffer } {
  if (/^Proc-Type: 4,ENCRYPTED/m.test(pem) || pem.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----"))
    return { encrypted: true };
  const openssh = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END/.exec(pem);
  if (openssh?.[1] === undefined) return { encrypted: false };
  try {
    const reader = new WireReader(Buffer.from(openssh[1], "base64").subarray("openssh-key-v1\0".length));
    if (reader.string().toString("latin1") === "none") return { encrypted: false };
    reader.string(); // key derivation
    reader.string(); // its options
    reader.uint32(); // number of keys: one
    return { encrypted: true, publicKey: reader.string() };
  } catch {
    return { encrypted: false };
  }
}
