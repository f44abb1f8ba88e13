/**
 * A disk with little room, for a site's directory: it can be filled behind the site's back, and it can fail,
 * whereupon the kernel lets nobody write to it any more, as ext4 does where it finds itself damaged
 * (errors=remount-ro, ext4(5)). It is mounted inside the host alone: outside, every host that somebody starts
 * meanwhile would have it, too, and it could not be taken away.
 */
import { truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Inside } from "./host.ts";
import { run } from "./process.ts";

export interface SmallDisk {
  /** Takes all the room there is. */
  fill(): Promise<void>;
  /** Gives it back. */
  free(): Promise<void>;
  /** From now on it is read-only. */
  fail(): Promise<void>;
  /** What a restart of the machine does: checked, and mounted anew. Nothing may be using it. */
  repair(): Promise<void>;
  stop(): Promise<void>;
}

/** @param options.file the disk; need not exist @param options.path where it is mounted, on the host */
export async function makeSmallDisk(
  on: Pick<Inside, "run">,
  { file, size, path }: { file: string; size: number; path: string },
): Promise<SmallDisk> {
  await writeFile(file, "");
  await truncate(file, size);
  await run("mkfs.ext4", ["-q", "-m", "0", file]);
  const device = (await run("losetup", ["--find", "--show", file])).stdout.trim();
  const mount = () => on.run("mount", ["-o", "errors=remount-ro", device, path]);
  const stop = async () => {
    await on.run("umount", ["--lazy", path], { mayFail: true });
    await run("losetup", ["--detach", device], { mayFail: true });
  };
  const filler = join(path, "lost+found/filler");
  try {
    await mount();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    fill: async () => {
      // It takes what there is, and then says that there is no more.
      await on.run("fallocate", ["--length", String(size), filler], { mayFail: true });
      await on.run("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096", "oflag=append", "conv=notrunc"], {
        mayFail: true,
      });
    },
    free: async () => {
      await on.run("rm", ["-f", filler]);
    },
    fail: async () => {
      await writeFile(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, "1");
    },
    repair: async () => {
      await on.run("umount", [path]);
      await run("e2fsck", ["-p", device], { mayFail: true });
      await mount();
    },
    stop,
  };
}
