/**
 * `drydock bundle`: the connected side's pipeline. Everything is planned before the first byte of the
 * archive is written; then each source fills its slots, and the archive gets its name.
 */
import { dirname, resolve } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { type ArchiveParts, ArchiveWriter, checkOutput, planArchive } from "../archive/writer.ts";
import { type Reporter, runStep } from "../reporter.ts";
import type { KeyProtection } from "./bundle-certificates.ts";
import { type ConnectOptions, connectRegistries } from "./connect.ts";
import type { BlobSink, Content } from "./content.ts";
import { createdTime } from "./created.ts";
import { makeIndex } from "./make-index.ts";
import { readManifest } from "./manifest.ts";
import { mergeContents } from "./merge.ts";
import type { Locking } from "./pins.ts";
import { defaultParallel, plan } from "./plan.ts";
import { readmeOf } from "./readme.ts";

export interface BundleOptions extends ConnectOptions {
  /** where the archive goes; NAME.tar in the working directory if left out */
  output?: string;
  /** replace an output that exists */
  force: boolean;
  /** where CA and server pair are kept; the user's own place if left out */
  keyStore?: string;
  protection: KeyProtection;
  /** more files that name images, relative to the working directory; "-" is standard input */
  imagesFrom?: readonly string[];
  /** none if left out */
  locking?: Locking;
  /** downloads at the same time, over all registries; 8 if left out */
  parallel?: number;
}

export interface BundleResult {
  path: string;
  /** the bundle's digest: sha256 of SHA256SUMS, 64 digits */
  digest: string;
  /** of the archive, in bytes */
  size: number;
  index: BundleIndex;
  /** the passphrase that was made for the server's key; it is nowhere else */
  code?: string;
  /** the path of the lock file that was written */
  lock?: string;
  /** what of the certificates is new; absent where all was used again */
  newCertificates?: string;
}

/**
 * @throws DrydockError "input" (manifest, seed), "usage" (the output exists), "upstream", "integrity",
 *   "preflight" (no space for the archive), "host" (the disk fails). Nothing half-made is left.
 */
export async function bundle(
  manifestFile: string,
  options: BundleOptions,
  reporter: Reporter,
): Promise<BundleResult> {
  const { imagesFrom = [], locking = "none", parallel = defaultParallel } = options;
  const manifest = await readManifest(manifestFile, { imagesFrom, reporter });
  const output = resolve(options.output ?? `${manifest.name}.tar`);
  await checkOutput(output, options.force);
  const created = createdTime();
  const client = await connectRegistries(options, manifest, reporter);
  const contents: Content[] = [];
  try {
    const sources = { manifest, client, spoolFolder: dirname(output), contents, locking, parallel };
    const { certificates, registry, lock } = await plan(sources, options, reporter);
    const { names, ...parts } = mergeContents(contents);
    const index = makeIndex(manifest, created, certificates.certificates, registry, parts);
    const archive = { index, readme: readmeOf(index), images: names };
    const { digest, size } = await write(output, archive, contents, options.force, reporter);
    const { code, made } = certificates;
    return {
      path: output,
      digest,
      size,
      index,
      ...(code ? { code } : {}),
      ...(made ? { newCertificates: made } : {}),
      ...(lock ? { lock } : {}),
    };
  } finally {
    await Promise.all([client.close(), ...contents.map((content) => content.dispose?.())]);
  }
}

/** Writes the archive: all sources fill their slots side by side. */
async function write(
  output: string,
  parts: ArchiveParts,
  contents: Content[],
  force: boolean,
  reporter: Reporter,
): Promise<{ digest: string; size: number }> {
  const archive = planArchive(parts);
  const { from, keyEncrypted } = parts.index.certificates;
  const mode = from === "bundle" && !keyEncrypted ? 0o600 : 0o644;
  return await runStep(reporter, "write bundle", async (step) => {
    step.total(parts.index.blobs.reduce((sum, { size }) => sum + size, 0));
    const writer = await ArchiveWriter.create(output, archive, {
      force,
      mode,
      advance: (bytes) => step.advance(bytes),
    });
    try {
      await fillAll(contents, writer);
      step.detail("syncing");
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
    return { digest: archive.digest, size: archive.size };
  });
}

/** All sources at once. The first error stops the others, and is thrown when all have ended. */
async function fillAll(contents: Content[], sink: BlobSink): Promise<void> {
  const failures: unknown[] = [];
  const check = () => {
    if (failures.length > 0) throw failures[0];
  };
  async function* untilFailure(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    check();
    for await (const chunk of source) {
      check();
      yield chunk;
    }
  }
  const stoppable: BlobSink = {
    wants: (digest) => sink.wants(digest),
    write: (digest, source, where) => sink.write(digest, untilFailure(source), where),
  };
  const fill = (content: Content) => content.fill(stoppable).catch((error: unknown) => failures.push(error));
  await Promise.all(contents.map(fill));
  check();
}
