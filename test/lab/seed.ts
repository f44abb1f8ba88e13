/** A seed as sites have them: the storage directory of a real registry, packed by tar. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { makeImage, type TestImage } from "./images.ts";
import { run } from "./process.ts";
import { makeBusyboxImage } from "./real-images.ts";
import { startRegistry } from "./registry.ts";
import { pushNamed } from "./upstream.ts";

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
 * @param options.top the folder inside the archive that holds `docker/registry/v2`; "storage" if left out
 */
export async function makeSeed(
  file: string,
  options: { images?: Record<string, TestImage>; top?: string } = {},
): Promise<Seed> {
  const images = options.images ?? {
    "legacy/app:2017": await makeBusyboxImage({ says: "hello from the seed" }),
    "legacy/data:1": makeImage({ docker: true, files: { "data.txt": "as it was in 2017\n" } }),
  };
  const top = options.top ?? "storage";
  const scratch = `${file}.scratch`;
  const packed = join(scratch, "packed");
  await mkdir(join(packed, top), { recursive: true });
  try {
    const registry = await startRegistry({ folder: scratch, storage: join(packed, top) });
    try {
      for (const [name, image] of Object.entries(images)) await pushNamed(registry.host, name, image);
    } finally {
      await registry.stop();
    }
    await mkdir(dirname(file), { recursive: true });
    const stable = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
    await run("tar", [...stable, "--auto-compress", "--create", "--file", file, "--directory", packed, top]);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return { file, sha256: hash.digest("hex"), images };
}
