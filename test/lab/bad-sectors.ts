/**
 * A disk with bad sectors: files on it give EIO where they are asked for those bytes, and all else is well.
 * An ext2 file system in a loop device, of which some blocks are mapped to the disk's end (debugfs, "bmap"),
 * which is then cut off beneath it; the kernel's own loop driver says EIO for what its file no longer has.
 */
import { copyFile, mkdir, stat, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ByteRange } from "../../src/archive/damage.ts";
import type { Inside } from "./host.ts";
import { run } from "./process.ts";

/** Of the file system, in bytes: bad ranges are widened to such blocks. */
export const badBlock = 4096;

export interface BadDisk {
  /** where it is mounted; the files have their own names in it */
  path: string;
  /** Cuts off all the rest, as if the stick were pulled out. */
  pullOut(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * @param folder for the disk and its mount point; need not exist
 * @param files path → the ranges of it that are bad (inclusive); an empty list for a file that is well
 * @param on the host at which it is mounted, this machine if left out
 */
export async function makeBadDisk(
  folder: string,
  files: Record<string, ByteRange[]>,
  on: Pick<Inside, "run"> = { run },
): Promise<BadDisk> {
  await mkdir(folder, { recursive: true });
  const [disk, path] = [join(folder, "disk"), join(folder, "mounted")];
  await mkdir(path);
  const sizes = await Promise.all(Object.keys(files).map(async (file) => (await stat(file)).size));
  const used = sizes.reduce((sum, size) => sum + Math.ceil(size / badBlock), 0);
  const bad = Object.entries(files).flatMap(([file, ranges]) =>
    ranges.flatMap((range) => blocksOf(range).map((block) => ({ name: basename(file), block }))),
  );
  // Room for the file system's own blocks, too. What will be bad comes behind it, after the files have theirs.
  const end = Math.ceil(used * 1.2) + 2048;
  await writeFile(disk, "");
  await truncate(disk, (end + bad.length) * badBlock);
  await run("mkfs.ext2", ["-q", "-F", "-b", String(badBlock), "-m", "0", disk, String(end)]);
  const { stdout } = await run("losetup", ["--find", "--show", disk]);
  const device = stdout.trim();
  const stop = async () => {
    await on.run("umount", ["--lazy", path], { mayFail: true });
    await run("losetup", ["--detach", device], { mayFail: true });
  };
  try {
    await run("mount", [device, path]);
    for (const file of Object.keys(files)) await copyFile(file, join(path, basename(file)));
    await run("umount", [path]);
    await run("resize2fs", ["-f", device]);
    const commands = bad.map(({ name, block }, number) => `bmap ${name} ${block} ${end + number}\n`).join("");
    await run("debugfs", ["-w", "-f", "-", device], { input: commands });
    await run("blockdev", ["--flushbufs", device]);
    await on.run("mount", ["-o", "ro", device, path]);
    await truncate(disk, end * badBlock);
  } catch (error) {
    await stop();
    throw error;
  }
  return { path, pullOut: () => truncate(disk, 0), stop };
}

function blocksOf({ from, to }: ByteRange): number[] {
  const first = Math.floor(from / badBlock);
  return Array.from({ length: Math.floor(to / badBlock) - first + 1 }, (_, number) => first + number);
}
