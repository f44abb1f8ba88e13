/**
 * What a trust store is: one place where a container runtime looks for the CAs of a registry. Each is a small
 * file in this folder with the same few functions, which read what was seen at a client and say what is to be
 * there. They change nothing themselves: work.ts looks, and applies it.
 */
import type { Seen } from "./seen.ts";

/** As --stores has them. */
export const storeNames = ["docker", "containers", "containerd", "k3s", "rke2", "system"] as const;
export type StoreName = (typeof storeNames)[number];

/** What a client shall have. */
export interface Wanted {
  /** the registry as references name it, HOST[:PORT], its name first */
  names: readonly string[];
  /** PEM, a certificate each; with `remove` it may be empty */
  authorities: readonly string[];
  /** CAs that an earlier run put there, and that are not among `authorities`, go */
  removeOld: boolean;
  /** upstream hosts whose images are looked for in this registry first: docker.io, quay.io */
  mirrors: readonly string[];
  /** the names by which this client reaches the registry, as URLs have them: HOST, and :PORT unless it is 443 */
  endpoints: readonly string[];
  /** what a runtime reads only at its start may be changed, and the runtime restarted */
  restartRuntimes: boolean;
  /** the stores that are worked on at this client */
  stores: readonly StoreName[];
}

/** A file as it shall be: root's and 0644, unless it was there already and is merged. */
export interface WantedFile {
  path: string;
  /** text that ends with a line end */
  content: string;
  /** drydock's own from its first line to its last: it begins with our mark. Else it is somebody's, merged */
  ours: boolean;
}

/** What stands in the way of a store, or is to be known about it. */
export interface StoreFinding {
  /** error: the store does not hold the CA */
  level: "error" | "note";
  reason: string;
  hint: string;
}

export interface StorePlan {
  files: WantedFile[];
  /** files that go, if they are there; and then the directories that were made for them */
  gone: string[];
  findings: StoreFinding[];
  /** where some of it was not there: what makes a runtime read it. If that fails, all is put back as it was */
  afterwards?: AfterChange;
}

/**
 * restart  a process's name, and services, of which those that run are restarted
 * reload   a file with the number of Docker's process, which gets SIGHUP if it runs
 * run      a program and its arguments
 */
export interface AfterChange {
  do: "restart" | "reload" | "run";
  words: readonly string[];
  /** also where nothing had to be changed: an earlier change was not read yet */
  isDue?: boolean;
}

export function noPlan(): StorePlan {
  return { files: [], gone: [], findings: [] };
}

/** One of several that need nothing afterwards. */
export function joinPlans(plans: readonly StorePlan[]): StorePlan {
  return {
    files: plans.flatMap(({ files }) => files),
    gone: plans.flatMap(({ gone }) => gone),
    findings: plans.flatMap(({ findings }) => findings),
  };
}

export interface Store {
  name: StoreName;
  /** false: the files are the login user's, in the home directory */
  isRoots: boolean;
  /**
   * Paths, with * as in a shell's pattern, that the other functions want to know of. "~/" is the login user's
   * home. The directories above them are looked at in any case.
   * @param seen what is known already, if that leads to more
   */
  looksAt(seen?: Seen): string[];
  /** shell, written as remote-functions.ts explains, that tells "fact NAME VALUE" @param chosen by --stores */
  asks?(chosen: boolean): string;
  /** programs whose presence `isThere` wants to know of */
  programs: readonly string[];
  /** whether the runtime is there */
  isThere(seen: Seen): boolean;
  install(seen: Seen, wanted: Wanted): StorePlan;
  remove(seen: Seen, wanted: Wanted): StorePlan;
}
