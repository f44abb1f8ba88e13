/** Network namespaces with no route out: the addresses of a site and its clients lie on `lo` alone. */
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { removeCgroups } from "./cgroups.ts";
import { run } from "./process.ts";

export interface Netns {
  /** its name below /run/netns */
  name: string;
  delete(): Promise<void>;
}

const prefix = "drydock-";

/** @param label becomes part of the name @param addresses without a prefix length */
export async function makeNetns(label: string, addresses: string[]): Promise<Netns> {
  await deleteLeftOver();
  const name = `${prefix}${label}-${process.pid}-${randomBytes(3).toString("hex")}`;
  const remove = async () => {
    await run("ip", ["netns", "delete", name], { mayFail: true });
  };
  await run("ip", ["netns", "add", name]);
  try {
    const commands = ["link set lo up", ...addresses.map((address) => `address add ${address}/32 dev lo`)];
    await run("ip", ["-netns", name, "-batch", "-"], { input: `${commands.join("\n")}\n` });
  } catch (error) {
    await remove();
    throw error;
  }
  return { name, delete: remove };
}

/** Those of programs that were killed before they could clean up: nothing runs in them any more. */
async function deleteLeftOver(): Promise<void> {
  for (const name of await readdir("/run/netns").catch((): string[] => [])) {
    const owner = name.startsWith(prefix) ? /-(\d+)-[0-9a-f]{6}$/.exec(name)?.[1] : undefined;
    if (owner === undefined || isAlive(Number(owner))) continue;
    await run("ip", ["netns", "delete", name], { mayFail: true });
    await removeCgroups(name);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
