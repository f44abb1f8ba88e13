/** The built command at a site, to be killed at some moment, or to be held while something happens. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pidInside } from "../lab/host.ts";
import type { Site } from "../lab/site.ts";
import { built, drydockWords } from "./drydock.ts";

export interface Begun {
  /** its process, as seen from outside */
  pid: number;
  /** Resolves when stderr says that a step has begun ("place"); also if the command ends before. */
  step(title: string): Promise<void>;
  /** SIGKILL to the command itself. */
  kill(): void;
  /**
   * Waits for the step, and until `when` holds if that is given, and lets the command stand still while
   * `work` is done.
   */
  during(title: string, work: () => Promise<void>, when?: () => boolean): Promise<void>;
  ended: Promise<Ended>;
}

export interface Ended {
  /** null: it was killed */
  code: number | null;
  stdout: string;
  stderr: string;
  /** in milliseconds, from its start */
  took: number;
  /** when it first said something, counted likewise */
  spoke: number;
  /** how many bytes it had read when it began to prove the tags, its program's own files among them; 0 if it didn't */
  read: number;
}

/** Starts `drydock ARGS` at a site. @param options.env on top of the host's @param options.before words before it: a program and its arguments */
export async function begin(
  site: Site,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; before?: readonly string[] } = {},
): Promise<Begun> {
  await built();
  const began = performance.now();
  const [word = "", ...words] = [...(options.before ?? []), ...drydockWords, ...args];
  const [program, all] = site.enter(word, words, "/");
  const child = spawn(program, all, {
    env: { ...site.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  let [read, pid, spoke] = [0, 0, 0];
  let told = () => {};
  child.stdout.on("data", (chunk: Buffer) => {
    output.stdout += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output.stderr += chunk;
    spoke ||= performance.now() - began;
    if (read === 0 && pid > 0 && /^prove tags \.\.\.$/m.test(output.stderr)) read = readSoFar(pid);
    told();
  });
  const ended = once(child, "close").then(([code]: (number | null)[]) => {
    told();
    return { code: code ?? null, ...output, took: performance.now() - began, spoke, read };
  });
  pid = await pidInside(child.pid);
  const step = async (title: string) => {
    while (isRunning(child) && !output.stderr.includes(`${title} ...\n`)) {
      await new Promise<void>((done) => {
        told = done;
      });
    }
  };
  const during: Begun["during"] = async (title, work, when = () => true) => {
    await step(title);
    while (isRunning(child) && !when()) await sleep(1);
    if (!isRunning(child)) throw new Error(`it ended before that:\n${output.stderr}`);
    process.kill(pid, "SIGSTOP");
    try {
      await work();
    } finally {
      process.kill(pid, "SIGCONT");
      // The one that waits outside for the command has stopped as it did.
      child.kill("SIGCONT");
    }
  };
  return { pid, step, during, ended, kill: () => end(pid) };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function end(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself meanwhile.
  }
}

/** rchar of proc_pid_io(5); 0 if the process has ended. */
function readSoFar(pid: number): number {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
