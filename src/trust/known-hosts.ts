/**
 * Host keys that are known, as sshd(8) describes under "SSH_KNOWN_HOSTS FILE FORMAT". The libraries for it
 * on npm have had no release for years and know neither hashed names with ports, negation nor markers.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { mkdir, open, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { ServerHostKeyAlgorithm } from "ssh2";
import { DrydockError, errorCode, errorText } from "../errors.ts";

export interface HostKey {
  /** "ssh-ed25519" */
  type: string;
  /** the public key as it goes over the wire (RFC 4253 section 6.6) */
  blob: Buffer;
}

interface Entry extends HostKey {
  patterns: string;
  revoked: boolean;
}

/** What one file holds. Lines that can't be read are passed over, as OpenSSH does: they match no host. */
export interface KnownHosts {
  file: string;
  entries: Entry[];
}

/** The user's own. */
export function defaultKnownHostsFile(): string {
  return join(homedir(), ".ssh/known_hosts");
}

/** A file that is not there holds nothing. @throws DrydockError "input" if it can't be read */
export async function readKnownHosts(file: string): Promise<KnownHosts> {
  try {
    const text = await readFile(file, "utf8");
    return { file, entries: text.split("\n").flatMap(parseLine) };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return { file, entries: [] };
    throw new DrydockError("input", `read known hosts ${JSON.stringify(file)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

function parseLine(line: string): Entry[] {
  const words = line.trim().split(/\s+/);
  const marker = words[0]?.startsWith("@") ? words.shift() : undefined;
  const [patterns, type, base64] = words;
  if (patterns === undefined || patterns.startsWith("#") || type === undefined || base64 === undefined)
    return [];
  // A certificate authority's key vouches for others; it is never a host's own.
  if (marker !== undefined && marker !== "@revoked") return [];
  const blob = Buffer.from(base64, "base64");
  return keyType(blob) === type ? [{ patterns, type, blob, revoked: marker === "@revoked" }] : [];
}

/** The algorithm's name at the beginning of a public key; "" if it is none. */
export function keyType(blob: Buffer): string {
  if (blob.length < 4) return "";
  return blob.toString("latin1", 4, 4 + blob.readUInt32BE(0));
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** The keys known for a host, and those revoked for it. */
export function lookup(
  known: KnownHosts,
  host: string,
  port: number,
): { keys: HostKey[]; revoked: HostKey[] } {
  const name = knownName(host, port);
  const found = known.entries.filter((entry) => matches(entry.patterns, name));
  return { keys: found.filter((entry) => !entry.revoked), revoked: found.filter((entry) => entry.revoked) };
}

/** A host's name in the file: with its port where that isn't 22. */
export function knownName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

function matches(patterns: string, name: string): boolean {
  if (patterns.startsWith("|")) return matchesHash(patterns, name);
  let matched = false;
  for (const pattern of patterns.toLowerCase().split(",")) {
    if (!pattern.startsWith("!")) matched ||= wildcard(pattern).test(name);
    else if (wildcard(pattern.slice(1)).test(name)) return false;
  }
  return matched;
}

/** `*` is any number of characters, `?` is one. */
function wildcard(pattern: string): RegExp {
  const body = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(/\*+/g, ".*")
    .replace(/\?/g, ".");
  return new RegExp(`^${body}$`);
}

/** `|1|salt|hash`: HMAC-SHA1 of the name, keyed with the salt. */
function matchesHash(pattern: string, name: string): boolean {
  const [, version, salt, hash] = pattern.split("|");
  if (version !== "1" || salt === undefined || hash === undefined) return false;
  const wanted = Buffer.from(hash, "base64");
  const got = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
  return wanted.length === got.length && timingSafeEqual(wanted, got);
}

const offered: ServerHostKeyAlgorithm[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
];

/**
 * The algorithms to offer: those of the known keys first, so that a host with several keys shows the one we
 * know; then the others, so that a host that has changed shows what it has now. Never SHA-1.
 */
export function hostKeyAlgorithms(keys: readonly HostKey[]): ServerHostKeyAlgorithm[] {
  const types = new Set(keys.map((key) => key.type));
  const known = offered.filter((name) => types.has(name.startsWith("rsa-") ? "ssh-rsa" : name));
  return [...known, ...offered.filter((name) => !known.includes(name))];
}

/**
 * Appends a host's key to the file, in one write (so that two hosts at once don't mix), and to what is known.
 * @throws the file system's error
 */
export async function remember(known: KnownHosts, host: string, port: number, key: HostKey): Promise<void> {
  const name = knownName(host, port);
  const line = `${name} ${key.type} ${key.blob.toString("base64")}\n`;
  known.entries.push({ ...key, patterns: name, revoked: false });
  await mkdir(dirname(known.file), { recursive: true, mode: 0o700 });
  const file = await open(known.file, "a+", 0o600);
  try {
    const { size } = await file.stat();
    const last = Buffer.alloc(1);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    await file.appendFile(size > 0 && last.toString() !== "\n" ? `\n${line}` : line);
    await file.datasync();
  } finally {
    await file.close();
  }
}
