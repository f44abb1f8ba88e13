/** Seeds as a source of content: from a file or from a URL, carried unpacked or packed. */
import { createReadStream, type Stats } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { basename } from "node:path";
import { keptSeedOf } from "../archive/kept-seeds.ts";
import { DrydockError, errorCode, errorText, fileErrorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { readStorageTarball } from "../oci/storage-tarball.ts";
import { type Reporter, runStep } from "../reporter.ts";
import type { BlobSink, Content } from "./content.ts";
import { publicUrl } from "./download.ts";
import { savedDownload } from "./seed-download.ts";
import { type SeedScan, scanSeed } from "./seed-scan.ts";
import { OtherBytes } from "./seed-tree.ts";

export type SeedRequest = (
  | { file: string; sha256?: string | undefined }
  | { url: string; sha256: string }
) & {
  /** how to carry it, if not as its compression suggests */
  keep?: "packed" | "unpacked" | undefined;
  /** as the user wrote it */
  source: string;
};

export interface SeedOptions {
  /** the bundle's path: a seed from a URL is saved beside it */
  output: string;
  /** take what is whole of a damaged seed */
  allowIncomplete?: boolean;
  reporter: Reporter;
}

/** From here on a packed seed is worth the second unpacking. */
const packedFrom = 1.5;

/**
 * Scans the seed; one from a URL is saved beside the bundle while it is scanned, where it stays for the next
 * try until the bundle is finished (removeKeptSeeds).
 * @throws DrydockError "input", "integrity" (see scanSeed), "upstream" if the URL does not give it, "host" if
 *   this machine cannot read or save it
 */
export async function planSeed(request: SeedRequest, options: SeedOptions): Promise<Content> {
  const content = await ("url" in request ? planUrl(request, options) : planFile(request, options));
  if (content.seed?.incomplete) {
    options.reporter.warn(`seed ${content.name} is damaged: what is not whole in it is left out, and named`);
  }
  return content;
}

async function planFile(
  { file, source, sha256, keep }: Extract<SeedRequest, { file: string }>,
  { reporter, allowIncomplete }: SeedOptions,
): Promise<Content> {
  const before = await statSeed(file, source);
  const scan = await runStep(
    reporter,
    `scan seed ${source}`,
    (step) => {
      step.total(before.size);
      return scanSeed(readFile(file, source), source, step, { sha256, allowIncomplete });
    },
    summary,
  );
  return contentOf(scan, { file, before, name: source, source: basename(file), keep });
}

async function planUrl(
  { url, sha256, keep }: Extract<SeedRequest, { url: string }>,
  { output, reporter, allowIncomplete }: SeedOptions,
): Promise<Content> {
  const name = publicUrl(url);
  const file = keptSeedOf(output, sha256);
  const attempt = async () => {
    try {
      return await runStep(
        reporter,
        `download and scan seed ${name}`,
        (step) =>
          scanSeed(savedDownload({ url, file, sha256, name }, step), name, step, { sha256, allowIncomplete }),
        summary,
      );
    } catch (error) {
      if (error instanceof OtherBytes) await rm(file, { force: true });
      throw error;
    }
  };
  const isBegun = await stat(file).then(
    ({ size }) => size > 0,
    () => false,
  );
  const scan = await attempt().catch((error) => {
    if (!isBegun || !(error instanceof OtherBytes)) throw error;
    reporter.warn(`what an earlier try left of seed ${name} has other bytes: it is downloaded anew`);
    return attempt();
  });
  const before = await statSeed(file, name);
  return contentOf(scan, { file, before, name, source: name, keep });
}

function summary(scan: SeedScan): string {
  const repositories = Object.keys(scan.repositories).length;
  return `${repositories} repositories, ${scan.blobs.length} blobs`;
}

interface SeedFile {
  file: string;
  /** before the scan */
  before: Stats;
  /** for errors */
  name: string;
  /** for the bundle index */
  source: string;
  keep: "packed" | "unpacked" | undefined;
}

function contentOf(scan: SeedScan, seed: SeedFile): Content {
  const { sha256, size, compression, blobs, repositories, leftOut, names, incomplete } = scan;
  const packed = (seed.keep ?? (scan.unpackedBytes / size > packedFrom ? "packed" : "unpacked")) === "packed";
  const digest: Digest = `sha256:${sha256}`;
  return {
    name: seed.name,
    blobs: packed ? [{ digest, size, role: "seed" }] : blobs.map((blob) => ({ ...blob, role: "image" })),
    repositories,
    seed: {
      sha256,
      size,
      source: seed.source,
      repositories,
      leftOut,
      ...(incomplete ? { incomplete } : {}),
      ...(packed ? { packed: { compression, blobs } } : {}),
    },
    // Of a packed seed no blob stands in the archive under its own name.
    names: packed ? [] : names,
    async fill(sink) {
      await checkUnchanged(seed);
      if (!packed) await fillUnpacked(sink, scan, seed);
      else if (sink.wants(digest)) await sink.write(digest, readFile(seed.file, seed.name), seed.name);
    },
  };
}

/** One pass over the tarball. The sink checks each blob. */
async function fillUnpacked(sink: BlobSink, scan: SeedScan, seed: SeedFile): Promise<void> {
  const missing = new Set(scan.blobs.map(({ digest }) => digest).filter((digest) => sink.wants(digest)));
  if (missing.size === 0) return;
  const options = { compression: scan.compression, where: seed.name };
  await readStorageTarball(readFile(seed.file, seed.name), options, async (entry, _size, body) => {
    if (entry.kind !== "blob" || !missing.delete(entry.digest)) return;
    await sink.write(entry.digest, body, seed.name);
  });
  if (missing.size > 0) throw changed(seed.name);
}

async function statSeed(file: string, name: string): Promise<Stats> {
  const stats = await stat(file).catch((error) => {
    throw new DrydockError("input", `open seed ${JSON.stringify(name)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  });
  if (!stats.isFile()) throw new DrydockError("input", `open seed ${JSON.stringify(name)}: it is not a file`);
  return stats;
}

async function checkUnchanged({ file, before, name }: SeedFile): Promise<void> {
  const now = await statSeed(file, name);
  if (now.size !== before.size || now.mtimeMs !== before.mtimeMs) throw changed(name);
}

function changed(name: string): DrydockError {
  return new DrydockError("input", `read seed ${JSON.stringify(name)}: it has changed since it was scanned`, {
    hint: "Run it again when nothing writes to the file.",
  });
}

async function* readFile(file: string, name: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* createReadStream(file, { highWaterMark: 1024 * 1024 });
  } catch (cause) {
    const kind = errorCode(cause) === "EACCES" || errorCode(cause) === "ENOENT" ? "input" : "host";
    throw new DrydockError(kind, `read seed ${JSON.stringify(name)}: ${errorText(cause)}`, { cause });
  }
}
