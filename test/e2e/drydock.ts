/** Running the built command, bin/drydock.js, as its users do: on this machine or inside a host of the lab. */
import { join } from "node:path";
import type { Inside } from "../lab/host.ts";
import { type RunOptions, type RunResult, run } from "../lab/process.ts";

const root = join(import.meta.dirname, "../..");

/** The command's words, for a program that starts it itself: Node.js, the launcher. */
export const drydockWords: readonly string[] = [process.execPath, join(root, "bin/drydock.js")];

export interface DrydockOptions extends RunOptions {
  /** the host inside which it runs; this machine if left out */
  on?: Inside;
}

/**
 * Runs `drydock ARGS` to its end, whatever its exit code; the build is made first if it is missing or older
 * than the sources. @param options.env comes on top of the host's environment
 */
export async function drydock(args: readonly string[], options: DrydockOptions = {}): Promise<RunResult> {
  await built();
  const { on, env, ...others } = options;
  const [program = "", ...launcher] = drydockWords;
  const words = [...launcher, ...args];
  if (on !== undefined) return on.run(program, words, { ...others, ...(env && { env }), mayFail: true });
  return run(program, words, { ...others, env: { ...process.env, ...env }, mayFail: true });
}

/** A shell's pipe into it: `SCRIPT | drydock ARGS`. The script finds `input` in $0: `zstd -dc "$0"`. */
export async function drydockFromPipe(
  script: string,
  input: string,
  args: readonly string[],
  options: DrydockOptions = {},
): Promise<RunResult> {
  await built();
  const { on, env, ...others } = options;
  const words = ["-c", `${script} | "$@"`, input, ...drydockWords, ...args];
  if (on !== undefined) return on.run("/bin/sh", words, { ...others, ...(env && { env }), mayFail: true });
  return run("/bin/sh", words, { ...others, env: { ...process.env, ...env }, mayFail: true });
}

let building: Promise<RunResult> | undefined;

/** Once for each test file; the files that run side by side wait for the first one's build. */
export async function built(): Promise<void> {
  // The kernel frees the lock with its process, and a file that is there anyway leaves nothing behind.
  const lock = join(root, "tsconfig.build.json");
  building ??= run("flock", [lock, process.execPath, join(import.meta.dirname, "build.ts")]);
  await building;
}
