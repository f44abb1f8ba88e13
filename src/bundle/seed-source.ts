/** Seeds as a source of content: from a file or from a URL, carried unpacked or packed. */
import { randomUUID } from "node:crypto";
import { createReadStream, type Stats } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { DrydockError, errorCode, errorText, fileErrorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { readStorageTarball } from "../oci/storage-tarball.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import { temporary } from "../temporary.ts";
import type { BlobSink, Content } from "./content.ts";
import { openDownload, publicUrl } from "./download.ts";
import { type SeedScan, scanSeed } from "./seed-scan.ts";

/** Exactly one of file and url. */
export interface SeedRequest {
  file?: string | undefined;
  url?: string | undefined;
  /** what the file's sha256 must be: 64 hexadecimal digits */
  sha256?: string | undefined;
  /** how to carry it, if not as its compression suggests */
  keep?: "packed" | "unpacked" | undefined;
  /** as the user wrote it */
  source: string;
}

/** From here on a packed seed is worth the second unpacking. */
const packedFrom = 1.5;

/**
 * Scans the seed; one from a URL is saved in the spool folder while it is scanned, and removed by dispose.
 * @throws DrydockError "input", "integrity" (see scanSeed), "upstream" if the URL does not give it, "host" if
 *   this machine cannot read or save it
 */
export async function planSeed(
  request: SeedRequest,
  options: { spoolFolder: string; reporter: Reporter },
): Promise<Content> {
  const { reporter } = options;
  if (request.url !== undefined) return planUrl(request.url, request, options);
  if (request.file === undefined) throw new Error("a seed has neither file nor url");
  const { file, source } = request;
  const before = await statSeed(file, source);
  const scan = await runStep(
    reporter,
    `scan seed ${source}`,
    (step) => {
      step.total(before.size);
      return scanSeed(readFile(file, source), source, step, { sha256: request.sha256 });
    },
    summary,
  );
  return contentOf(scan, { file, before, name: source, source: basename(file), keep: request.keep });
}

async function planUrl(
  url: string,
  request: SeedRequest,
  options: { spoolFolder: string; reporter: Reporter },
): Promise<Content> {
  const name = publicUrl(url);
  const { path: file, remove: dispose } = temporary(join(options.spoolFolder, `seed-${randomUUID()}`));
  try {
    const scan = await runStep(
      options.reporter,
      `download and scan seed ${name}`,
      (step) => download(url, name, file, step, request.sha256),
      summary,
    );
    const before = await statSeed(file, name);
    return { ...contentOf(scan, { file, before, name, source: name, keep: request.keep }), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function download(url: string, name: string, file: string, step: Step, sha256: string | undefined) {
  const { size, body, close } = await openDownload(url, `seed ${JSON.stringify(name)}`);
  if (size !== undefined) step.total(size);
  try {
    return await scanSeed(saved(body, file), name, step, { sha256 });
  } finally {
    await close();
  }
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
  const { sha256, size, compression, blobs, repositories, leftOut, names } = scan;
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

/** The chunks of `source`, each written to the new file before it is passed on. */
async function* saved(source: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Uint8Array, void> {
  const handle = await open(file, "wx", 0o600).catch((error) => {
    throw cannotSave(file, error);
  });
  try {
    for await (const chunk of source) {
      await writeAll(handle, chunk).catch((error) => {
        throw cannotSave(file, error);
      });
      yield chunk;
    }
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    at += (await handle.write(chunk, at, chunk.length - at)).bytesWritten;
  }
}

function cannotSave(file: string, cause: unknown): DrydockError {
  return new DrydockError("host", `save the download to ${JSON.stringify(file)}: ${fileErrorText(cause)}`, {
    cause,
  });
}
