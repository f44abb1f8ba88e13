/**
 * Images that take seconds to make are kept from run to run, so that every test shares them.
 * Two processes may make the same one at once: the folder gets its final name by one rename, and who comes
 * second uses the first one's.
 */
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, hexOf, parseDigest } from "../../src/oci/digest.ts";
import type { TestImage } from "./images.ts";

/** Not in the temporary folder: the tests have one for each run, which must be empty in the end. */
const parent = `/var/tmp/drydock-lab-images-${process.getuid?.() ?? 0}`;

/**
 * The image of this name, made by `make` if it is not kept yet (or is damaged).
 * @param key all that the image's bytes depend on
 */
export async function cachedImage(
  name: string,
  key: string,
  make: () => Promise<TestImage>,
): Promise<TestImage> {
  const folder = join(parent, `${name}-${hexOf(digestOf(key)).slice(0, 16)}`);
  const kept = await load(folder);
  if (kept !== undefined) return kept;

  await mkdir(parent, { recursive: true, mode: 0o700 });
  const image = await make();
  const unfinished = await mkdtemp(join(parent, ".unfinished-"));
  try {
    await save(unfinished, image);
    await moveInto(unfinished, folder);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  return image;
}

async function save(folder: string, image: TestImage): Promise<void> {
  for (const blob of image.blobs) await writeFile(join(folder, hexOf(blob.digest)), blob.bytes);
  const blobs = image.blobs.map((blob) => blob.digest);
  const { mediaType, platform } = image;
  await writeFile(join(folder, "manifest"), image.manifest);
  await writeFile(join(folder, "image.json"), JSON.stringify({ mediaType, platform, blobs }));
}

/** @returns undefined if it is not there, or is not what its names say */
async function load(folder: string): Promise<TestImage | undefined> {
  const names = await readdir(folder).catch((): string[] => []);
  if (!names.includes("image.json")) return undefined;
  const kept: { mediaType: string; platform?: string; blobs: string[] } = JSON.parse(
    await readFile(join(folder, "image.json"), "utf8"),
  );
  const blobs: TestImage["blobs"] = [];
  for (const text of kept.blobs) {
    const digest = parseDigest(text, folder);
    const bytes = await readFile(join(folder, hexOf(digest))).catch(() => Buffer.alloc(0));
    if (digestOf(bytes) !== digest) return undefined;
    blobs.push({ digest, bytes });
  }
  const manifest = await readFile(join(folder, "manifest"));
  return { ...kept, manifest, digest: digestOf(manifest), blobs };
}

/** Keeping it only saves time, and the image is in memory: so who comes second just lets it be. */
async function moveInto(unfinished: string, folder: string): Promise<void> {
  if ((await load(folder)) === undefined) await rm(folder, { recursive: true, force: true });
  try {
    await rename(unfinished, folder);
  } catch (error) {
    const taken =
      error instanceof Error && "code" in error && /^(ENOTEMPTY|EEXIST)$/.test(String(error.code));
    if (!taken) throw error;
  }
}
