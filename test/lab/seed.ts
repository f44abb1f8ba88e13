/** A seed as sites have them: the storage directory of a real registry, packed. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { makeImage, type TestImage } from "./images.ts";
import { makeBusyboxImage } from "./real-images.ts";
import { makeStorage, packStorage } from "./seeds.ts";

export interface Seed {
  file: string;
  /** 64 hexadecimal digits, of the packed file */
  sha256: string;
  /** by repository and tag: "legacy/app:2017" */
  images: Record<string, TestImage>;
}

/**
 * Pushes images to a registry of its own and packs what it stored.
 * @param file its ending chooses how it is packed: .tar, .tar.gz or .tar.zst
 * @param options.images two small ones if left out, of which legacy/app:2017 runs
 * @param options.prefix what stands before docker/registry/v2 in the archive; "storage/" if left out
 */
export async function makeSeed(
  file: string,
  options: { images?: Record<string, TestImage>; prefix?: string } = {},
): Promise<Seed> {
  const images = options.images ?? {
    "legacy/app:2017": await makeBusyboxImage({ says: "hello from the seed" }),
    "legacy/data:1": makeImage({ docker: true, files: { "data.txt": "as it was in 2017\n" } }),
  };
  const scratch = await mkdtemp(join(dirname(file), ".seed-"));
  try {
    const storage = await makeStorage(scratch, images);
    const compression = file.endsWith(".gz") ? "gzip" : file.endsWith(".zst") ? "zstd" : "none";
    await packStorage(storage, file, { compression, prefix: options.prefix ?? "storage/" });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return { file, sha256: hash.digest("hex"), images };
}
