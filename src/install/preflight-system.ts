/** Preflight's checks of the host as a whole: memory, clock, SELinux. */
import { readFile } from "node:fs/promises";
import type { Finding } from "./finding.ts";
import { isEnforcing } from "./selinux.ts";

/** drydock itself peaks at about 200 MB; the registry takes some tens. */
const memoryNeeded = 256e6;

/** @param file /proc/meminfo, as proc(5) describes it; says nothing where there is none */
export async function checkMemory(file = "/proc/meminfo"): Promise<Finding[]> {
  const text = await readFile(file, "utf8").catch(() => "");
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  if (kibibytes === undefined) return [];
  const free = Number(kibibytes) * 1024;
  const shown = `${Math.floor(free / 1e6).toLocaleString("en")} MB`;
  if (free >= memoryNeeded) return [{ check: "memory", level: "ok", text: `${shown} are available` }];
  return [
    {
      check: "memory",
      level: "warning",
      text: `${shown} are available, and the installation takes up to 200 MB`,
      hint: "Stop what is not needed meanwhile, or add swap; else the system may end the installation midway.",
    },
  ];
}

/** Clocks differ a little. */
const tolerance = 5 * 60_000;
const day = 86_400_000;

/**
 * The clock against the time at which the bundle was made: it can't be earlier now.
 * @param made when the bundle was made, RFC 3339 @param makesCertificates whether some are made here, by this clock
 */
export function checkClock(now: Date, made: string, makesCertificates: boolean): Finding[] {
  const behind = Date.parse(made) - now.getTime();
  if (!(behind > tolerance)) {
    return [{ check: "clock", level: "ok", text: `it says ${minute(now)}` }];
  }
  const wrong = makesCertificates && behind > day;
  const consequence = wrong ? ": certificates that are made now would be dated wrongly" : "";
  return [
    {
      check: "clock",
      level: wrong ? "error" : "warning",
      text: `this host's clock says ${minute(now)}, and the bundle was made on ${minute(new Date(made))}${consequence}`,
      hint: setTheClock,
    },
  ];
}

/** What to do about a clock that is wrong. */
export const setTheClock =
  "Set the clock (timedatectl set-time 'YYYY-MM-DD hh:mm:ss'), then run the same command again.";

/** "2026-03-04 05:06 UTC" */
export function minute(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** @param file see isEnforcing; says nothing where SELinux doesn't enforce */
export async function checkSelinux(file?: string): Promise<Finding[]> {
  if (!(await isEnforcing(file))) return [];
  return [
    {
      check: "selinux",
      level: "ok",
      text: "it enforces: the engine is asked to label certificates and storage for containers",
    },
  ];
}
