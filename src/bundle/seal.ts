/**
 * The last part of a build: the archive is written. What an earlier try, or an earlier bundle, has already
 * is taken from there; the sources fill the other slots side by side; the archive gets its name.
 */
import { type ArchiveParts, fits, planArchive } from "../archive/archive-plan.ts";
import type { Journal } from "../archive/journal.ts";
import type { Slot } from "../archive/layout.ts";
import { openSource } from "../archive/open-source.ts";
import { checkPartCount } from "../archive/parts.ts";
import { type Bundle, openBundle } from "../archive/reader.ts";
import { findAside, salvage, setAside } from "../archive/salvage.ts";
import { ArchiveWriter } from "../archive/writer.ts";
import { namingParts } from "../archive/wrong-parts.ts";
import { DrydockError } from "../errors.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import type { BlobSink, Content } from "./content.ts";

export interface SealOptions {
  /** replace an output that exists */
  force: boolean;
  /** the largest size of a part, if the archive is to be cut in some */
  split?: number;
}

/**
 * @param from.earlier what an earlier try of the same output left
 * @param from.reusable earlier bundles, to take blobs from
 * @throws DrydockError whatever a source ends with; what was fetched is kept for the next try.
 */
export async function seal(
  output: string,
  parts: ArchiveParts,
  contents: Content[],
  from: { earlier: Journal | undefined; reusable: Bundle[] },
  options: SealOptions,
  reporter: Reporter,
): Promise<{ digest: string; size: number }> {
  const plan = planArchive(parts);
  const { certificates, blobs } = parts.index;
  const mode = certificates.from === "bundle" && !certificates.keyEncrypted ? 0o600 : 0o644;
  const { split } = options;
  if (split !== undefined) checkPartCount(plan.size, split);
  let journal = from.earlier;
  if (journal && !fits(journal, plan, split)) {
    await setAside(output, journal);
    journal = undefined;
  }
  const writer = await runStep(reporter, "write bundle", async (step) => {
    let total = blobs.reduce((sum, { size }) => sum + size, 0);
    step.total(total);
    const advance = (bytes: number) => step.advance(bytes);
    const again = (bytes: number) => {
      total += bytes;
      step.total(total);
    };
    const piece = ({ digest, size }: Slot, where: string) => step.piece(shortName(where, digest), size);
    if (journal) step.detail("checking what is there");
    const opened = await ArchiveWriter.create(output, plan, {
      force: options.force,
      split,
      mode,
      journal,
      aside: await findAside(output),
      advance,
      again,
      piece,
    });
    return await orClose(opened, async () => {
      await salvage(output, opened);
      for (const bundle of from.reusable) await reuse(bundle, opened, step, reporter);
      step.detail("");
      await fillAll(contents, opened);
      step.detail("syncing");
      await opened.sync();
      return opened;
    });
  });
  await orClose(writer, async () => {
    if (split === undefined) return await writer.finish();
    await runStep(reporter, "read the parts for their list", async (step) => {
      step.total(plan.size);
      await writer.finish((bytes) => step.advance(bytes));
    });
  });
  return { digest: plan.digest, size: plan.size };
}

/** Closes the writer if it fails: what is there stays for the next try. */
async function orClose<T>(writer: ArchiveWriter, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await writer.close();
    throw error;
  }
}

/** "library/alpine:3.20 3b1f0a2c4d5e" */
function shortName(where: string, digest: Digest): string {
  const name = where.replace(/^docker\.io\//, "").replace(/@sha256:[0-9a-f]{64}$/, "");
  return `${name} ${shortDigest(digest)}`;
}

/** Opens the bundles that --reuse names. @throws DrydockError as openBundle */
export async function openReusable(paths: readonly string[]): Promise<Bundle[]> {
  const bundles: Bundle[] = [];
  try {
    // What is damaged or cut off in one is fetched.
    for (const path of paths)
      bundles.push(
        await namingParts(path, async () => openBundle(await openSource(path), undefined, { goOn: true })),
      );
    return bundles;
  } catch (error) {
    await Promise.all(bundles.map((bundle) => bundle.close()));
    throw error;
  }
}

/** A blob of at most `limit` bytes that one of the bundles has; undefined if none has it whole. */
export async function reusedBlob(
  bundles: readonly Bundle[],
  digest: Digest,
  limit: number,
): Promise<Buffer | undefined> {
  for (const bundle of bundles) {
    if (!bundle.index.blobs.some((blob) => blob.digest === digest && blob.size <= limit)) continue;
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of bundle.blob(digest)) chunks.push(Buffer.from(chunk));
      return Buffer.concat(chunks);
    } catch (error) {
      if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
    }
  }
  return undefined;
}

/** Takes every blob that is wanted. What is damaged there is fetched as if it were not there. */
async function reuse(bundle: Bundle, sink: BlobSink, step: Step, reporter: Reporter): Promise<void> {
  step.detail(`from ${bundle.name}`);
  const unlessDamaged = (rest: string) => (error: unknown) => {
    if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
    reporter.warn(`${error.message}; ${rest}`);
  };
  const pass = bundle.forEachBlob({
    concurrency: 2,
    wants: ({ digest }) => sink.wants(digest),
    use: (blob) =>
      sink.write(blob.digest, blob.readUnchecked(), bundle.name).catch(unlessDamaged("it is fetched again")),
  });
  await pass.catch(unlessDamaged("what stands behind it is fetched again"));
  for (const text of bundle.lacking) reporter.warn(`${text}; what is missing there is fetched again`);
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
    begun: (digest) => sink.begun(digest),
    write: (digest, source, where, from) => sink.write(digest, untilFailure(source), where, from),
  };
  const fill = (content: Content) => content.fill(stoppable).catch((error: unknown) => failures.push(error));
  await Promise.all(contents.map(fill));
  check();
}
