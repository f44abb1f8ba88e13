/** The files that `files:` and `packages:` name, as content of a bundle. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { BlobRole } from "../archive/bundle-index.ts";
import { DrydockError, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Content } from "./content.ts";
import type { ManifestCarriedFile } from "./manifest-files.ts";
import type { ManifestPackages } from "./manifest-packages.ts";

const bufferSize = 1024 * 1024;

interface Measured extends ManifestCarriedFile {
  digest: Digest;
  size: number;
}

/** Reads each file once, for digest and size. @throws DrydockError "input" if one cannot be read. */
export async function planFiles(files: readonly ManifestCarriedFile[]): Promise<Content> {
  const planned = await measureAll(files);
  return { name: "files", files: planned.map(nameAndDigest), ...contentOf(planned, "file") };
}

/** As planFiles. */
export async function planPackages(sets: readonly ManifestPackages[]): Promise<Content> {
  const planned: { match: ManifestPackages["match"]; files: Measured[] }[] = [];
  for (const { match, files } of sets) planned.push({ match, files: await measureAll(files) });
  return {
    name: "packages",
    packages: planned.map(({ match, files }) => ({ match, files: files.map(nameAndDigest) })),
    ...contentOf(
      planned.flatMap(({ files }) => files),
      "package",
    ),
  };
}

function contentOf(
  planned: readonly Measured[],
  role: BlobRole,
): Pick<Content, "blobs" | "repositories" | "fill"> {
  return {
    blobs: planned.map(({ digest, size }) => ({ digest, size, role })),
    repositories: {},
    fill: async (sink) => {
      for (const { digest, path } of planned) await sink.write(digest, readFile(path), path);
    },
  };
}

function nameAndDigest({ name, digest }: Measured): { name: string; digest: Digest } {
  return { name, digest };
}

async function* readFile(path: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* createReadStream(path, { highWaterMark: bufferSize });
  } catch (error) {
    throw new DrydockError("input", `read file ${JSON.stringify(path)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

async function measureAll(files: readonly ManifestCarriedFile[]): Promise<Measured[]> {
  const planned: Measured[] = [];
  for (const { name, path } of files) {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of readFile(path)) {
      hash.update(chunk);
      size += chunk.length;
    }
    planned.push({ name, path, digest: `sha256:${hash.digest("hex")}`, size });
  }
  return planned;
}
