/**
 * Where everything stands in a bundle: the names, the order, the headers and the offsets. The writer and
 * the reader both use this module and nothing else, so they cannot differ. FORMAT.md describes it.
 *
 * Every header is canonical: for a given name, size and time there is exactly one right sequence of
 * bytes (POSIX.1-2017 "ustar Interchange Format", pax "size" records from 8 GiB on). A reader therefore
 * needs no tolerance: it makes the header that must stand at an offset and compares.
 */
import { Header, Pax } from "tar";
import { type Digest, hexOf } from "../oci/digest.ts";

export const blockSize = 512;
/** Two blocks of zeros end the archive; nothing may follow. */
export const endSize = 2 * blockSize;
/** From here on ustar's size field is too small and a pax record says the size. */
const paxFrom = 8 * 1024 ** 3;

/** The files at the top, in this order. `signatures/<name>.sig` may stand after the first. */
export const topNames = {
  sums: "SHA256SUMS",
  index: "bundle.json",
  readme: "README.txt",
  ociLayout: "oci-layout",
  ociIndex: "index.json",
} as const;

/** Signatures are neither listed nor summed: they are made over SHA256SUMS, after it. */
export const signatureName = /^signatures\/[A-Za-z0-9_-]{1,64}\.sig$/;
/** Self-contained installers stand between README.txt and oci-layout, and are listed in SHA256SUMS. */
export const installerName = /^drydock-[a-z0-9]+-[a-z0-9_]+$/;

/** No file at the top but an installer may be larger, so that a hostile one fills no memory. */
export const topSizeLimits = { sums: 64 * 1024, signature: 16 * 1024, other: 512 * 1024 ** 2 } as const;

export function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** Bytes of zeros after an entry's body, up to the next block. */
export function paddingOf(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

/**
 * The canonical header of a regular file: one block, or from 8 GiB on three (a pax header, its record,
 * the header). @param mtime seconds since 1970
 */
export function headerOf(name: string, size: number, mtime: number): Buffer {
  const mode = installerName.test(name) ? 0o755 : 0o644;
  const header = Buffer.alloc(blockSize);
  const fields = {
    path: name,
    mode,
    uid: 0,
    gid: 0,
    size,
    mtime: new Date(mtime * 1000),
    type: "File" as const,
  };
  new Header(fields).encode(header, 0);
  if (size < paxFrom) return header;
  return Buffer.concat([paxHeaderOf(name, size, mtime), header]);
}

function paxHeaderOf(name: string, size: number, mtime: number): Buffer {
  const record = Buffer.from(new Pax({ size }).encodeBody());
  const body = Buffer.concat([record, Buffer.alloc(paddingOf(record.length))]);
  const header = Buffer.alloc(blockSize);
  new Header({
    path: `PaxHeader/${name.slice(name.lastIndexOf("/") + 1)}`,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: record.length,
    mtime: new Date(mtime * 1000),
    type: "ExtendedHeader",
  }).encode(header, 0);
  return Buffer.concat([header, body]);
}

/** One blob's place. */
export interface Slot {
  digest: Digest;
  size: number;
  /** where its header begins */
  headerAt: number;
  /** where its bytes begin */
  bodyAt: number;
}

/** The blobs' places, in order, when the first header stands at `start`; and where the archive's end begins. */
export function layOut(
  blobs: Iterable<{ digest: Digest; size: number }>,
  start: number,
): { slots: Slot[]; end: number } {
  const slots: Slot[] = [];
  let at = start;
  for (const { digest, size } of blobs) {
    const bodyAt = at + (size < paxFrom ? blockSize : 3 * blockSize);
    slots.push({ digest, size, headerAt: at, bodyAt });
    at = bodyAt + size + paddingOf(size);
  }
  return { slots, end: at };
}

/** What a header that is not the expected one says, for an error's text. */
export function describeHeader(bytes: Buffer): string {
  if (allZero(bytes)) return "the end of the archive";
  try {
    const header = new Header(bytes, 0);
    if (header.cksumValid && header.path) return `entry ${JSON.stringify(header.path)}`;
  } catch {
    // What stands there is no header: said below.
  }
  return "something that is no tar header";
}

/** The size and the time that a canonical header gives, or undefined if the bytes are no header for `accepts`. */
export function readHeader(
  bytes: Buffer,
  accepts: (name: string) => boolean,
): { name: string; size: number; mtime: number } | undefined {
  let header: Header;
  try {
    header = new Header(bytes, 0);
  } catch {
    return undefined;
  }
  const { path: name, size, mtime } = header;
  if (!header.cksumValid || name === undefined || size === undefined || mtime === undefined) return undefined;
  if (!accepts(name) || size < 0 || size >= paxFrom) return undefined;
  const seconds = Math.floor(mtime.getTime() / 1000);
  return headerOf(name, size, seconds).equals(bytes) ? { name, size, mtime: seconds } : undefined;
}

export function allZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
