/** Runs one command with a cold cache and says how long it took and how much memory it had at most. */
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { atEnd } from "../lab/at-end.ts";
import { run } from "../lab/process.ts";

export interface Measurement {
  seconds: number;
  /** resident memory of the command and its children together, in bytes */
  peak: number;
  /** of parts of the work, where the command tells them: name → seconds */
  parts: Record<string, number>;
}

export interface Command {
  program: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
}

/** Empties the page cache, once nothing is left to write. */
export async function makeCold(): Promise<void> {
  await run("sync", []);
  await writeFile("/proc/sys/vm/drop_caches", "3");
}

/** @throws Error with what the command said, if it fails. */
export async function measure(command: Command): Promise<{ seconds: number; peak: number; said: string }> {
  await makeCold();
  const began = performance.now();
  const child = spawn(command.program, command.args, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(command.env === undefined ? {} : { env: command.env }),
  });
  const said: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => said.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
  const ended = new Promise<{ code: number | null; seconds: number }>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, seconds: (performance.now() - began) / 1000 }));
  });
  const forget = atEnd(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  try {
    const running = new AbortController();
    const watching = watchMemory(child.pid, running.signal);
    const { code, seconds } = await ended.finally(() => running.abort());
    const text = Buffer.concat(said).toString("utf8");
    if (code !== 0) throw new Error(`${command.program} ${command.args.join(" ")}: exit ${code}\n${text}`);
    return { seconds, peak: await watching, said: text };
  } finally {
    forget();
  }
}

/**
 * The kernel keeps each process's own peak, so looking often finds all but what a process adds in its
 * last moment; for several at a time it is the sum of their peaks.
 */
async function watchMemory(pid: number | undefined, signal: AbortSignal): Promise<number> {
  let peak = 0;
  while (!signal.aborted && pid !== undefined) {
    peak = Math.max(peak, await memoryOf(pid));
    await sleep(25, undefined, { signal }).catch(() => {});
  }
  return peak;
}

/** VmHWM of a process and of all below it, in bytes (proc(5)); 0 for one that has ended. */
async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const own = Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const below = await Promise.all(children.split(" ").filter(Boolean).map(Number).map(memoryOf));
  return below.reduce((sum, one) => sum + one, own);
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}
