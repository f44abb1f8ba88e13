/** A packed seed at the site: what is in it goes to its places, each blob checked on its own. */
import { createHash } from "node:crypto";
import type { BundleSeed } from "../archive/bundle-index.ts";
import { DrydockError } from "../errors.ts";
import { inPages } from "../lent-buffers.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import { readStorageTarball } from "../oci/storage-tarball.ts";
import type { BlobPlacer } from "./blob-placer.ts";

/**
 * Unpacks a seed as it comes from the archive. Where something is wrong in it, the rest is read too: then its
 * own digest says whether the bundle is damaged, or the seed was made like that, which no copy will cure.
 */
export async function unpackCarried(
  carried: AsyncGenerator<Buffer>,
  seed: BundleSeed,
  writer: BlobPlacer,
): Promise<void> {
  let damage: unknown;
  // Taken by hand, so that the end of unpacking does not end the reading.
  async function* chunks() {
    for (;;) {
      const { done, value } = await carried.next().catch((error: unknown) => {
        damage = error;
        throw error;
      });
      if (done) return;
      // The reader's chunks are overwritten by later ones, and the decompressor holds several at a time.
      yield Buffer.from(value);
    }
  }
  try {
    await unpackSeed(chunks(), seed, writer);
    await drain(carried);
  } catch (error) {
    if (damage === undefined && error instanceof DrydockError && error.kind === "integrity")
      await drain(carried);
    throw damage ?? error;
  } finally {
    await carried.return(undefined);
  }
}

async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of source);
}

/**
 * Each inner blob is checked on its own, and the packed seed as a whole by the archive's reader. One that is
 * damaged does not keep the others from their places.
 */
export async function unpackSeed(
  chunks: AsyncIterable<Uint8Array>,
  seed: BundleSeed,
  writer: BlobPlacer,
): Promise<void> {
  const compression = seed.packed?.compression ?? "none";
  const inner = new Set(seed.packed?.blobs.map(({ digest }) => digest));
  const damaged: DamagedInside[] = [];
  try {
    await readStorageTarball(chunks, { compression, where: seed.source }, async (entry, _size, body) => {
      if (entry.kind !== "blob" || !inner.has(entry.digest)) return;
      await writer
        .write(entry.digest, inPages(verified(entry.digest, body, seed.source), 0))
        .catch((error: unknown) => {
          if (!(error instanceof DamagedInside)) throw error;
          damaged.push(error);
        });
    });
  } catch (error) {
    // It was a whole tarball when the bundle was made, so it is damaged if it is none now.
    if (!(error instanceof DrydockError) || error.kind !== "input") throw error;
    throw new DrydockError("integrity", `blob sha256:${seed.sha256} is damaged: ${error.message}`, {
      cause: error,
    });
  }
  if (damaged[0]) throw damaged[0];
}

/** A blob in a packed seed has another digest than its name there says. */
class DamagedInside extends DrydockError {}

async function* verified(
  digest: Digest,
  body: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of body) {
    hash.update(chunk);
    yield chunk;
  }
  const found = hash.digest("hex");
  if (found !== hexOf(digest)) {
    throw new DamagedInside(
      "integrity",
      `read seed "${where}": blob ${digest} is damaged: its sha256 is ${found}`,
    );
  }
}
