/**
 * The last part of a build: the archive is written. What an earlier try, or an earlier bundle, has already
 * is taken from there; the sources fill the other slots side by side; the archive gets its name.
 */
import { type Journal, journalOf, readJournal } from "../archive/journal.ts";
import { openSource } from "../archive/open-source.ts";
import { type Bundle, openBundle } from "../archive/reader.ts";
import { discardAll, salvage, setAside } from "../archive/salvage.ts";
import { type ArchiveParts, ArchiveWriter, fits, planArchive } from "../archive/writer.ts";
import { DrydockError } from "../errors.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import type { BlobSink, Content } from "./content.ts";

export interface SealOptions {
  /** replace an output that exists */
  force: boolean;
  /** the largest size of a part, if the archive is to be cut in some */
  split?: number;
}

/** What an earlier try of the same output left, or undefined. @param restart throws it away */
export async function earlierTry(output: string, restart: boolean): Promise<Journal | undefined> {
  if (restart) await discardAll(output);
  return await readJournal(journalOf(output));
}

/**
 * @param earlier what earlierTry gave
 * @param reusable earlier bundles, to take blobs from
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
  let journal = from.earlier;
  if (journal && !fits(journal, plan, split)) {
    await setAside(output, journal);
    journal = undefined;
  }
  await runStep(reporter, "write bundle", async (step) => {
    step.total(blobs.reduce((sum, { size }) => sum + size, 0));
    const advance = (bytes: number) => step.advance(bytes);
    const writer = await ArchiveWriter.create(output, plan, {
      force: options.force,
      split,
      mode,
      journal,
      advance,
    });
    try {
      await salvage(output, writer);
      for (const bundle of from.reusable) await reuse(bundle, writer, step, reporter);
      await fillAll(contents, writer);
      step.detail("syncing");
      await writer.finish();
    } catch (error) {
      await writer.close();
      throw error;
    }
  });
  return { digest: plan.digest, size: plan.size };
}

/** Opens the bundles that --reuse names. @throws DrydockError as openBundle */
export async function openReusable(paths: readonly string[]): Promise<Bundle[]> {
  const bundles: Bundle[] = [];
  try {
    for (const path of paths) bundles.push(await openBundle(await openSource(path)));
    return bundles;
  } catch (error) {
    await Promise.all(bundles.map((bundle) => bundle.close()));
    throw error;
  }
}

/** Takes every blob that is wanted. A damaged one is fetched as if it were not there. */
async function reuse(bundle: Bundle, sink: BlobSink, step: Step, reporter: Reporter): Promise<void> {
  step.detail(`from ${bundle.name}`);
  await bundle.forEachBlob({
    concurrency: 2,
    wants: ({ digest }) => sink.wants(digest),
    use: async (blob) => {
      try {
        await sink.write(blob.digest, copies(blob.readUnchecked()), bundle.name);
      } catch (error) {
        if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
        reporter.warn(`${error.message}; it is fetched again`);
      }
    },
  });
}

/** The reader overwrites its chunks, the sink keeps them. */
async function* copies(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of source) yield Buffer.from(chunk);
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
