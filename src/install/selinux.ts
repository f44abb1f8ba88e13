/**
 * SELinux: where it enforces, a container may read and write only files with a label of containers. The
 * engine gives it to what is mounted with the option `z`, and does nothing where there is no SELinux.
 */
import { readFile } from "node:fs/promises";

/** @param file as selinuxfs shows it: "1" while it enforces */
export async function isEnforcing(file = "/sys/fs/selinux/enforce"): Promise<boolean> {
  return (await readFile(file, "utf8").catch(() => "")).trim() === "1";
}
