/** What the figures depend on. */
import { statfs } from "node:fs/promises";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { run } from "../lab/process.ts";

export interface Machine {
  cores: number;
  processor: string;
  /** bytes */
  memory: number;
  fileSystem: string;
  kernel: string;
  node: string;
}

export async function describeMachine(folder: string): Promise<Machine> {
  const { stdout } = await run("df", ["--output=fstype", folder]);
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    memory: totalmem(),
    fileSystem: stdout.trim().split("\n").at(-1) ?? "unknown",
    kernel: release(),
    node: process.versions.node,
  };
}

/** @throws Error if the file system has too little room for what the bench makes. */
export async function checkRoom(folder: string, size: number): Promise<void> {
  // storage, two bundles, tarball, skopeo's folder, and what one way writes; a registry's image and change besides
  const needed = size * 6.5 + 500e6;
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new Error(`${folder} has ${gigabytes(bavail * bsize)} free, ${gigabytes(needed)} are needed`);
}
