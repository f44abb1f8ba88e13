/** A program that runs at a site beside what is tested. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Site } from "../lab/site.ts";

/**
 * Runs JavaScript there while `work` is done. It says something when it is ready, and ends with its input:
 * `process.stdin.resume().on("end", …)`.
 */
export async function beside<T>(site: Site, script: string, work: () => Promise<T>): Promise<T> {
  const [program, args] = site.enter(process.execPath, ["--input-type=module", "-e", script], "/");
  const child = spawn(program, args, { env: site.env, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const ready = once(child.stdout, "data");
  try {
    await Promise.race([
      ready,
      ended.then(([code]) => {
        throw new Error(`run beside: it ended with ${code} before it was ready`);
      }),
    ]);
    return await work();
  } finally {
    child.stdin.end();
    await ended;
  }
}
