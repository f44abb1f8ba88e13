/** What a dry run adds up: the archive's size, what is shared, what a site needs. */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { planArchive } from "../archive/archive-plan.ts";
import type { BundleCertificates } from "../archive/bundle-index.ts";
import { countInodes, packageBlobs } from "../archive/contents.ts";
import { blobName } from "../archive/layout.ts";
import { describeMatch } from "../archive/packages.ts";
import { checkPartCount } from "../archive/parts.ts";
import type { Bundle } from "../archive/reader.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../certificates/request.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { Content } from "./content.ts";
import { createdTime } from "./created.ts";
import type { DryRun } from "./dry-run.ts";
import { makeIndex } from "./make-index.ts";
import type { Manifest } from "./manifest.ts";
import { mergeContents } from "./merge.ts";
import { readmeOf } from "./readme.ts";
import type { PlannedRegistry } from "./registry-image.ts";

type Totals = Pick<
  DryRun,
  "name" | "release" | "files" | "packages" | "shared" | "archive" | "reused" | "site" | "leftOut"
>;

/** Of all that a source carries. */
export function sizeOf({ blobs }: Pick<Content, "blobs">): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}

/** The totals: as for a build, with certificates that are not there. @throws DrydockError "usage" if `split` is too small */
export async function totalsOf(
  manifest: Manifest,
  registry: PlannedRegistry,
  contents: Content[],
  { output, split, reusable }: { output: string; split?: number; reusable: readonly Bundle[] },
): Promise<Totals> {
  const { names, ...merged } = mergeContents(contents);
  const { blobs: standIns, certificates } = standInCertificates(manifest);
  const parts = { ...merged, blobs: [...standIns, ...merged.blobs] };
  const index = makeIndex(manifest, createdTime(), certificates, registry, parts);
  const { size } = planArchive({ index, readme: readmeOf(index), images: names });
  if (split !== undefined) checkPartCount(size, split);
  const free = await freeIn(dirname(output));
  const carried = new Map(merged.blobs.map((blob) => [blob.digest, blob.size]));
  const sizeOfAll = (files: { digest: Digest }[]) =>
    files.reduce((sum, { digest }) => sum + (carried.get(digest) ?? 0), 0);
  const filesSize = sizeOfAll(merged.files);
  const packages = packageBlobs(merged);
  const { totals } = index;
  return {
    name: manifest.name,
    release: manifest.release,
    files: { count: merged.files.length, size: filesSize },
    packages: merged.packages.map(({ match, files }) => ({
      hosts: describeMatch(match),
      count: files.length,
      size: sizeOfAll(files),
    })),
    shared: sharedOf(contents, merged.blobs),
    archive: {
      path: output,
      blobs: merged.blobs.length,
      size,
      ...(free === undefined ? {} : { free }),
      ...(split === undefined ? {} : { parts: Math.ceil(size / split) }),
    },
    ...(reusable.length === 0 ? {} : { reused: reusedOf(reusable, merged.blobs) }),
    site: {
      blobs: totals.blobs,
      bytes:
        totals.bytes +
        filesSize +
        packages.values().reduce((sum, size) => sum + size, 0) +
        sizeOf(registry.content),
      inodes:
        totals.inodes +
        countInodes(merged.files.map(({ name }) => name)) +
        countInodes(packages.keys().map((digest) => `packages/${digest}`)) +
        countInodes(registry.content.blobs.map(({ digest }) => blobName(digest))),
    },
    leftOut: merged.leftOut,
  };
}

function sharedOf(contents: Content[], once: Content["blobs"]): DryRun["shared"] {
  const users = new Map<Digest, number>();
  for (const { blobs } of contents) {
    for (const digest of new Set(blobs.map((blob) => blob.digest))) {
      users.set(digest, (users.get(digest) ?? 0) + 1);
    }
  }
  const shared = once.filter(({ digest }) => (users.get(digest) ?? 0) > 1);
  const bytes = shared.reduce((sum, { digest, size }) => sum + size * ((users.get(digest) ?? 1) - 1), 0);
  return { blobs: shared.length, bytes };
}

function reusedOf(reusable: readonly Bundle[], wanted: Content["blobs"]): { blobs: number; bytes: number } {
  const there = new Set(reusable.flatMap(({ index }) => index.blobs.map(({ digest }) => digest)));
  const blobs = wanted.filter(({ digest }) => there.has(digest));
  return { blobs: blobs.length, bytes: sizeOf({ blobs }) };
}

/** In place of CA, server certificate and key, which are some 2 KiB each. */
function standInCertificates({ name, addresses, certificates }: Manifest): {
  blobs: Content["blobs"];
  certificates: BundleCertificates;
} {
  const [address = name] = addresses;
  if (certificates.from === "site") {
    const ca = certificates.ca ?? defaultAuthorityRequest(name);
    const server = certificates.server ?? defaultServerRequest(address);
    return { blobs: [], certificates: { from: "site", request: { ca, server } } };
  }
  const [ca, server, key] = [digestOf("CA"), digestOf("server"), digestOf("key")];
  return {
    blobs: [ca, server, key].map((digest) => ({ digest, size: 2048, role: "certificate" })),
    certificates: { from: "bundle", ca, server, key, keyEncrypted: true },
  };
}

/** What an ordinary user may write there; undefined if the folder is not there yet. */
async function freeIn(folder: string): Promise<number | undefined> {
  return await statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => undefined,
  );
}
