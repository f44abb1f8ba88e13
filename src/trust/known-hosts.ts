/**
 * Host keys that are known, as sshd(8) describes under "SSH_KNOWN_HOSTS FILE FORMAT". The libraries for it
 * on npm have had no release for years and know neither hashed names with ports, negation nor markers.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import type { ServerHostKeyAlgorithm } from "ssh2";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { appendAs, type CallingUser } from "./calling-user.ts";

export interface HostKey {
  /** "ssh-ed25519" */
  type: string;
  /** the public key as it goes over the wire (RFC 4253 section 6.6) */
  blob: Buffer;
}

/** One that stands in a file. */
export interface KnownKey extends HostKey {
  file: string;
}

interface Entry extends KnownKey {
  matches: (name: string) => boolean;
  marker: "revoked" | "cert-authority" | undefined;
}

/** What the files hold. Lines that can't be read are passed over, as OpenSSH does: they match no host. */
export interface KnownHosts {
  /** the first one: where new keys are written */
  file: string;
  entries: Entry[];
}

/** Several files are read as one; one that is not there holds nothing. @throws DrydockError "input" */
export async function readKnownHosts(file: string, ...others: string[]): Promise<KnownHosts> {
  const entries = await Promise.all([file, ...others].map(readEntries));
  return { file, entries: entries.flat() };
}

async function readEntries(file: string): Promise<Entry[]> {
  try {
    const text = await readFile(file, "utf8");
    return text.split("\n").flatMap((line) => parseLine(line, file));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw new DrydockError("input", `read known hosts ${JSON.stringify(file)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

const markers = { "@revoked": "revoked", "@cert-authority": "cert-authority" } as const;

function parseLine(line: string, file: string): Entry[] {
  const words = line.trim().split(/\s+/);
  const word = words[0]?.startsWith("@") ? words.shift() : undefined;
  const [patterns, type, base64] = words;
  if (patterns === undefined || patterns.startsWith("#") || type === undefined || base64 === undefined)
    return [];
  const marker = word === "@revoked" || word === "@cert-authority" ? markers[word] : undefined;
  if (word !== undefined && marker === undefined) return [];
  const blob = Buffer.from(base64, "base64");
  if (keyType(blob) !== type) return [];
  return [{ type, blob, file, marker, matches: matcher(patterns) }];
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

export interface Lookup {
  /** known for this name and port; anything else means that the key has changed */
  keys: KnownKey[];
  /** known for the name without its port, which OpenSSH takes as well; anything else is just unknown */
  withoutPort: KnownKey[];
  /** whose certificates vouch for the host */
  authorities: KnownKey[];
  revoked: KnownKey[];
}

/** What is known for a host. */
export function lookup(known: KnownHosts, host: string, port: number): Lookup {
  const name = knownName(host, port);
  const bare = knownName(host, 22);
  const of = (marker: Entry["marker"], ...names: string[]) =>
    known.entries.filter((entry) => entry.marker === marker && names.some((one) => entry.matches(one)));
  return {
    keys: of(undefined, name),
    withoutPort: port === 22 ? [] : of(undefined, bare),
    authorities: of("cert-authority", name, bare),
    revoked: of("revoked", name, bare),
  };
}

/** A host's name in the file: with its port where that isn't 22. */
export function knownName(host: string, port: number): string {
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
}

function matcher(patterns: string): (name: string) => boolean {
  if (patterns.startsWith("|")) return hashMatcher(patterns);
  const plain = new Set<string>();
  const wild: RegExp[] = [];
  const negated: RegExp[] = [];
  for (const pattern of patterns.toLowerCase().split(",")) {
    if (pattern.startsWith("!")) negated.push(wildcard(pattern.slice(1)));
    else if (/[*?]/.test(pattern)) wild.push(wildcard(pattern));
    else plain.add(pattern);
  }
  return (name) =>
    (plain.has(name) || wild.some((pattern) => pattern.test(name))) &&
    !negated.some((pattern) => pattern.test(name));
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
function hashMatcher(pattern: string): (name: string) => boolean {
  const [, version, salt, hash] = pattern.split("|");
  if (version !== "1" || salt === undefined || hash === undefined) return () => false;
  const key = Buffer.from(salt, "base64");
  const wanted = Buffer.from(hash, "base64");
  return (name) => {
    const got = createHmac("sha1", key).update(name).digest();
    return wanted.length === got.length && timingSafeEqual(wanted, got);
  };
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
 * Appends a host's key to the first file, in one write (so that two hosts at once don't mix), as the user whose
 * file it is, and to what is known.
 * @param hashed HashKnownHosts: whoever reads the file doesn't learn the name
 * @throws Error
 */
export async function remember(
  known: KnownHosts,
  user: CallingUser,
  { host, port, key, hashed }: { host: string; port: number; key: HostKey; hashed: boolean },
): Promise<void> {
  const name = knownName(host, port);
  const shown = hashed ? hashName(name) : name;
  known.entries.push({ ...key, file: known.file, marker: undefined, matches: matcher(name) });
  const gap = (await endsOpen(known.file)) ? "\n" : "";
  await appendAs(user, known.file, `${gap}${shown} ${key.type} ${key.blob.toString("base64")}\n`);
}

function hashName(name: string): string {
  const salt = randomBytes(20);
  const hash = createHmac("sha1", salt).update(name).digest("base64");
  return `|1|${salt.toString("base64")}|${hash}`;
}

/** Whether the last line lacks its end. */
async function endsOpen(path: string): Promise<boolean> {
  const file = await open(path, "r").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  });
  try {
    const { size = 0 } = (await file?.stat()) ?? {};
    if (file === undefined || size === 0) return false;
    const last = Buffer.alloc(1);
    await file.read(last, 0, 1, size - 1);
    return last.toString() !== "\n";
  } finally {
    await file?.close();
  }
}
