/** Finds what a run of the tests has left behind, by the temporary folder that it had for itself. */
import { readdir, readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Files in the folder, mounts below it, and processes that were given it as TMPDIR; it is removed, unless
 * something is mounted there.
 * @returns a line for each; none where all is well
 */
export async function leftBehind(folder: string): Promise<string[]> {
  // The kernel ends services with the test that started them, which takes a moment.
  for (let tries = 0; tries < 50 && (await processesWith(folder)).length > 0; tries += 1) await sleep(100);
  const mounts = (await readFile("/proc/self/mounts", "utf8")).split("\n");
  const mounted = mounts
    .filter((line) => line.includes(`${folder}/`))
    .map((line) => `mount ${line.split(" ")[1]}`);
  const files = (await readdir(folder)).map((name) => `${folder}/${name}`);
  if (mounted.length === 0) await rm(folder, { recursive: true, maxRetries: 5 });
  return [...(await processesWith(folder)), ...mounted, ...files];
}

async function processesWith(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const environment = await readFile(`/proc/${pid}/environ`, "latin1").catch(() => "");
    if (!environment.split("\0").some((entry) => entry.startsWith(`TMPDIR=${folder}`))) continue;
    const words = await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "");
    found.push(`process ${pid}: ${words.replaceAll("\0", " ").trim()}`);
  }
  return found;
}
