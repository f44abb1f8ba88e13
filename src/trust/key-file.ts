/**
 * Private key files for SSH: read, and told apart into usable, encrypted and neither.
 */
import { readFile } from "node:fs/promises";
import ssh2 from "ssh2";

export type KeyFile = { state: "usable"; key: Buffer } | { state: "encrypted" } | { state: "no key" };

/** @throws the file system's error if the file can't be read */
export async function readKeyFile(file: string): Promise<KeyFile> {
  const key = await readFile(file);
  if (isEncrypted(key.toString("latin1"))) return { state: "encrypted" };
  const parsed = ssh2.utils.parseKey(key);
  const [first] = Array.isArray(parsed) ? parsed : [parsed];
  return first instanceof Error || !first?.isPrivateKey() ? { state: "no key" } : { state: "usable", key };
}

/** RFC 1421 ("Proc-Type"), RFC 7468 section 11, and OpenSSH's PROTOCOL.key (the cipher's name comes first). */
function isEncrypted(pem: string): boolean {
  if (/^Proc-Type: 4,ENCRYPTED/m.test(pem) || pem.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----"))
    return true;
  const openssh = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END/.exec(pem);
  if (openssh?.[1] === undefined) return false;
  const bytes = Buffer.from(openssh[1], "base64");
  const start = "openssh-key-v1\0".length;
  if (bytes.length < start + 4) return false;
  const length = bytes.readUInt32BE(start);
  return bytes.toString("latin1", start + 4, start + 4 + length) !== "none";
}
