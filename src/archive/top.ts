/**
 * Reads the top of a bundle: SHA256SUMS, signatures, and the files that it lists, each checked against it.
 */
import { DrydockError } from "../errors.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { BundleIndex } from "./bundle-index.ts";
import { copyAgain, Deviation, deviates, partsAt, placeOf, truncated } from "./deviation.ts";
import {
  allZero,
  blockSize,
  describeHeader,
  installerName,
  paddingOf,
  readHeader,
  signatureName,
  topNames,
  topSizeLimits,
} from "./layout.ts";
import { parseBundleIndex } from "./schema.ts";
import type { ByteSource } from "./source.ts";
import { parseSums } from "./sums.ts";

export interface Top {
  /** sha256 of SHA256SUMS, 64 digits */
  digest: string;
  /** names of the signatures */
  signatures: string[];
  /** what SHA256SUMS lists, in its order */
  files: { name: string; digest: Digest }[];
  index: BundleIndex;
  indexBytes: Buffer;
  /** index.json, as it was */
  ociIndexBytes: Buffer;
  /** the time in every header, seconds since 1970 */
  mtime: number;
  /** where the first blob's header begins */
  end: number;
}

/** @param expectedDigest 64 digits, with or without "sha256:" @throws DrydockError "integrity" | "input" */
export async function readTop(source: ByteSource, expectedDigest: string | undefined): Promise<Top> {
  const sums = await readEntry(source, await readHeaderBlock(source, 0), topNames.sums, topSizeLimits.sums);
  const digest = digestOf(sums.bytes).slice("sha256:".length);
  checkDigest(source, digest, expectedDigest);
  const files = parseSums(sums.bytes.toString("utf8"));
  checkNames(files.map(({ name }) => name));

  const { mtime } = sums;
  const signatures: string[] = [];
  let header = await readHeaderBlock(source, sums.end);
  for (;;) {
    const signature = readHeader(header.bytes, (name) => signatureName.test(name));
    if (!signature) break;
    if (signatures.includes(signature.name))
      throw deviates(source, header.at, "another entry", `entry "${signature.name}" a second time`);
    const entry = await readEntry(source, header, signature.name, topSizeLimits.signature, mtime);
    signatures.push(signature.name);
    header = await readHeaderBlock(source, entry.end);
  }

  let indexBytes = Buffer.alloc(0);
  let ociIndexBytes = Buffer.alloc(0);
  let end = 0;
  for (const [number, { name, digest: wanted }] of files.entries()) {
    if (number > 0) header = await readHeaderBlock(source, end);
    const entry = await readEntry(source, header, name, topSizeLimits.other, mtime);
    const found = digestOf(entry.bytes);
    if (found !== wanted) {
      const parts = partsAt(source, header.at, entry.end - 1);
      const what = `read bundle ${JSON.stringify(source.name)}: ${name} is damaged`;
      throw new Deviation(`${what}: it has ${found}, wanted ${wanted}`, parts, copyAgain(parts));
    }
    if (name === topNames.index) indexBytes = entry.bytes;
    if (name === topNames.ociIndex) ociIndexBytes = entry.bytes;
    end = entry.end;
  }
  const index = parseBundleIndex(indexBytes);
  if (Date.parse(index.created) !== mtime * 1000)
    throw deviates(source, 0, `headers of ${index.created}`, `of ${new Date(mtime * 1000).toISOString()}`);
  return { digest, signatures, files, index, indexBytes, ociIndexBytes, mtime, end };
}

function checkDigest(source: ByteSource, digest: string, expected: string | undefined): void {
  if (expected === undefined || expected.replace(/^sha256:/, "").toLowerCase() === digest) return;
  throw new DrydockError(
    "integrity",
    `open bundle ${JSON.stringify(source.name)}: its digest is ${digest}, wanted ${expected}`,
    {
      hint: "This is not the bundle that the digest was noted for. Copy it again, or check which one you want.",
    },
  );
}

/** bundle.json, README.txt, any installers, oci-layout, index.json: these, in this order, and no others. */
function checkNames(names: string[]): void {
  const installers = names.slice(2, -2);
  const wanted = [topNames.index, topNames.readme, ...installers, topNames.ociLayout, topNames.ociIndex];
  if (
    names.length >= 4 &&
    wanted.join() === names.join() &&
    installers.every((name) => installerName.test(name))
  )
    return;
  throw new DrydockError(
    "integrity",
    `read SHA256SUMS: it lists ${names.join(", ") || "nothing"}; wanted ${wanted.join(", ")}`,
  );
}

interface HeaderBlock {
  at: number;
  bytes: Buffer;
}

async function readHeaderBlock(source: ByteSource, at: number): Promise<HeaderBlock> {
  const bytes = Buffer.alloc(blockSize);
  const got = await source.readAt(at, bytes);
  // A short file that begins otherwise than a bundle is rather something else than a cut one.
  const name = Buffer.from(topNames.sums).subarray(0, got);
  if (got < blockSize && (at > 0 || bytes.subarray(0, name.length).equals(name)))
    throw truncated(source, `at byte ${at + got}, where a header should be`);
  return { at, bytes };
}

async function readEntry(
  source: ByteSource,
  { at, bytes: block }: HeaderBlock,
  name: string,
  limit: number,
  mtime?: number,
) {
  const header = readHeader(block, (found) => found === name);
  if (!header || (mtime !== undefined && header.mtime !== mtime)) throw notTheEntry(source, at, name, block);
  if (header.size > limit)
    throw deviates(source, at, `${name} of at most ${limit} bytes`, `${header.size} bytes`);
  const padded = Buffer.alloc(header.size + paddingOf(header.size));
  const bodyAt = at + blockSize;
  const got = await source.readAt(bodyAt, padded);
  if (got < padded.length) throw truncated(source, `at byte ${bodyAt + got}, inside ${name}`);
  if (!allZero(padded.subarray(header.size)))
    throw deviates(source, bodyAt + header.size, `zeros after ${name}`, "something else");
  return { bytes: padded.subarray(0, header.size), mtime: header.mtime, end: bodyAt + padded.length };
}

/** Bundles are often compressed for the journey. RFC 1952, 2.3.1; RFC 8878, 3.1.1; xz's and bzip2's own. */
const unpackers = [
  { by: "gzip", magic: Buffer.from([0x1f, 0x8b]) },
  { by: "zstd", magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
  { by: "xz", magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) },
  { by: "bzip2", magic: Buffer.from("BZh") },
];

function notTheEntry(source: ByteSource, at: number, name: string, block: Buffer): DrydockError {
  const found = describeHeader(block);
  const unpack =
    at === 0 ? unpackers.find(({ magic }) => block.subarray(0, magic.length).equals(magic)) : undefined;
  if (unpack !== undefined) {
    return new DrydockError(
      "input",
      `open bundle ${JSON.stringify(source.name)}: it is compressed with ${unpack.by}`,
      {
        hint: `Unpack it on the way: ${unpack.by} -dc FILE | drydock install - (or inspect, or verify)`,
      },
    );
  }
  if (at > 0)
    return deviates(
      source,
      at,
      `entry "${name}"`,
      found === `entry "${name}"` ? `${found} with another header` : found,
    );
  const parts = partsAt(source, 0);
  return new Deviation(
    `open bundle ${JSON.stringify(source.name)}: it begins with ${found}${placeOf(source, 0)}, wanted entry "${name}"`,
    parts,
    parts.length > 0
      ? copyAgain(parts)
      : "It is damaged, or no bundle: bundles are made by `drydock bundle`.",
  );
}
