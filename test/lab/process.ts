/**
 * Starting the real parts of the lab as child processes that never outlive us, and running commands to
 * their end. Every part is stopped by its own process id.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { open, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

export interface RunResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** What the command reads; nothing if left out. */
  input?: string | Buffer;
  /** Leave the judgement to the caller: a code other than 0 is then no error. */
  mayFail?: boolean;
  /** After this many seconds the command is killed; 300 if left out. */
  seconds?: number;
}

/** Runs a command to its end, without a shell. @throws Error with all output if it ends with another code than 0. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    timeout: (options.seconds ?? 300) * 1000,
    killSignal: "SIGKILL",
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  // A command that does not read its input closes the pipe early: its exit code says what matters.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input);
  const ended = await new Promise<Pick<RunResult, "code" | "signal">>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  const result = {
    ...ended,
    stdout: Buffer.concat(out).toString("utf8"),
    stderr: Buffer.concat(err).toString("utf8"),
  };
  if (result.code !== 0 && options.mayFail !== true) {
    const how = result.signal ?? `exit code ${result.code}`;
    throw new Error(`${command} ${args.join(" ")}: ${how}\n${result.stdout}${result.stderr}`);
  }
  return result;
}

/** A process that goes on running, its output in a log file. */
export interface Service {
  pid: number;
  log: string;
  readLog(): Promise<string>;
  /** True until the process has ended. */
  running(): boolean;
  /** Resolves when the process has ended, however. */
  ended: Promise<void>;
  /** Asks it to end, insists after some seconds (SIGKILL), and waits until it has. */
  stop(): Promise<void>;
}

/**
 * Starts a service. The kernel ends it when we die, even by kill -9: `setpriv --pdeathsig` stays in force
 * through the programs that it, and nsenter or unshare after it, replace themselves with.
 */
export async function startService(
  command: string,
  args: readonly string[],
  options: {
    log: string;
    env?: NodeJS.ProcessEnv;
    patienceSeconds?: number;
    /** What asks it to end, and what the kernel sends when we die. */
    signal?: "SIGTERM" | "SIGKILL";
  },
): Promise<Service> {
  const log = await open(options.log, "a");
  const spawnOptions: SpawnOptions = { stdio: ["ignore", log.fd, log.fd] };
  if (options.env !== undefined) spawnOptions.env = options.env;
  const signal = options.signal ?? "SIGTERM";
  const guard = ["--pdeathsig", signal.slice("SIG".length), "--"];
  const child = spawn("setpriv", [...guard, command, ...args], spawnOptions);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
  } finally {
    await log.close();
  }
  if (child.pid === undefined) throw new Error(`start ${command}: it has no process id`);
  return {
    pid: child.pid,
    log: options.log,
    readLog: () => readFile(options.log, "utf8"),
    running: () => isRunning(child),
    ended,
    stop: async () => {
      if (!isRunning(child)) return;
      child.kill(signal);
      const insist = setTimeout(() => child.kill("SIGKILL"), (options.patienceSeconds ?? 10) * 1000);
      await ended;
      clearTimeout(insist);
    },
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/**
 * Asks again until there is an answer other than undefined. @throws Error with the service's log when it
 * ends before that, or after `seconds`.
 */
export async function waitFor<T>(
  what: string,
  service: Service,
  seconds: number,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    const late = performance.now() > deadline;
    if (late || !service.running()) {
      const why = late ? `no answer within ${seconds} s` : "it ended";
      throw new Error(`wait for ${what}: ${why}; its log:\n${await service.readLog()}`);
    }
    await sleep(20);
  }
}
