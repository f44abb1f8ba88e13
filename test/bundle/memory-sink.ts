/** A sink that checks as the bundle's writer does, and keeps what it got in memory. */
import type { BlobSink, Content } from "../../src/bundle/content.ts";
import { DrydockError } from "../../src/errors.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";

export interface MemorySink extends BlobSink {
  written: Map<Digest, Buffer>;
}

/** @param there what it has already */
export function memorySink(content: Content, there: Digest[] = []): MemorySink {
  const sizes = new Map(content.blobs.map(({ digest, size }) => [digest, size]));
  const begun = new Set(there);
  const written = new Map<Digest, Buffer>();
  return {
    written,
    wants: (digest) => sizes.has(digest) && !begun.has(digest),
    begun: () => ({ bytes: 0, lead: 0 }),
    async write(digest, source, where) {
      if (begun.has(digest)) return;
      begun.add(digest);
      const bytes = Buffer.concat(await Array.fromAsync(source));
      if (digestOf(bytes) !== digest || bytes.length !== sizes.get(digest)) {
        throw new DrydockError("integrity", `write ${digest} of ${where}: other bytes`);
      }
      written.set(digest, bytes);
    },
  };
}
