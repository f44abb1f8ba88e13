/** Runs one command and says how long it took, how much memory it had at most, and how much it wrote. */
import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { atEnd } from "../lab/at-end.ts";
import { run } from "../lab/process.ts";

export interface Measurement {
  seconds: number;
  /** resident memory of the command and its children together, in bytes */
  peak: number;
  /** to storage, by the command and its children, in bytes; what a service did for it is not in it */
  written: number;
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

/**
 * Runs the command below a shell, which tells in the end what it and its children wrote: when a process has waited
 * for another, the kernel adds that one's figures to its own (kernel/exit.c, wait_task_zombie). It counts a page
 * when it is changed in the cache, and direct writes as they are.
 */
const counting = 'code=0; setpriv --pdeathsig KILL -- "$@" 3>&- || code=$?; cat /proc/$$/io >&3; exit $code';

/**
 * With a cold cache, unless `warm`.
 * @throws Error with what the command said, if it fails.
 */
export async function measure(
  command: Command,
  { warm = false }: { warm?: boolean } = {},
): Promise<Omit<Measurement, "parts"> & { said: string }> {
  if (!warm) await makeCold();
  const began = performance.now();
  const child = spawn("/bin/sh", ["-c", counting, "sh", command.program, ...command.args], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    ...(command.env === undefined ? {} : { env: command.env }),
  });
  const counted: Buffer[] = [];
  (child.stdio[3] as Readable).on("data", (chunk: Buffer) => counted.push(chunk));
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => said.push(chunk));
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
    const written = Number(/^write_bytes: (\d+)$/m.exec(Buffer.concat(counted).toString("utf8"))?.[1]);
    return { seconds, peak: await watching, written, said: text };
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
