/** From what the stores want to what has to be done: nothing where it is as it should be. */
import type { Changes } from "./apply.ts";
import { ancestors } from "./look.ts";
import { directoriesMade, isMarked, withMark } from "./mark.ts";
import type { Entry, Seen } from "./seen.ts";
import type { StoreFinding, StorePlan, WantedFile } from "./store.ts";

/** Of a new file, for install(1). The first are the words that the lines for sudoers have (docs/sudo.md). */
const rootsFile = "-o root -g root -m 0644";
const usersFile = "-m 0644";

/**
 * @param isRoots whose the files shall be: root's, or else the login user's
 * @returns no changes where all is as it should be; also what keeps a file from being written or removed,
 *   and then that file is not in the changes
 */
export function changesFor(
  plan: StorePlan,
  seen: Seen,
  isRoots: boolean,
): { changes: Changes | undefined; findings: StoreFinding[] } {
  const found = new Map<string, StoreFinding>();
  /** Keeps what is wrong, once. */
  const isFit = <T>(change: T | StoreFinding): change is T => {
    const isWrong = typeof change === "object" && change !== null && "reason" in change;
    if (isWrong) found.set(change.reason, change);
    return !isWrong;
  };
  const writes = plan.files
    .map((file) => writeOf(file, seen, isRoots))
    .filter((write) => write !== undefined)
    .filter(isFit);
  const written = writes.map(({ path }) => path);
  const remove = [...new Set(plan.gone.map((path) => seen.absolute(path)))]
    .filter((path) => seen.at(path) !== undefined && !written.includes(path))
    .map((path) => wrongAbove(ancestors(path), seen, isRoots) ?? path)
    .filter(isFit);
  const findings = [...found.values()];
  if (writes.length + remove.length === 0 && plan.afterwards?.isDue !== true) {
    return { changes: undefined, findings };
  }
  const changes: Changes = {
    make: [...new Set(writes.flatMap(({ missing }) => missing))],
    write: writes.map(({ path, content, options }) => ({ path, content, options })),
    remove,
    removeDirectories: [...new Set(remove.flatMap((path) => madeFor(path, seen)))].sort(deepestFirst),
    ...(plan.afterwards === undefined ? {} : { afterwards: plan.afterwards }),
  };
  return { changes, findings };
}

type Write = Changes["write"][number] & {
  /** directories above it that are not there */
  missing: string[];
};

/** @returns undefined where it is as it should be; or what is in its way */
function writeOf(file: WantedFile, seen: Seen, isRoots: boolean): Write | StoreFinding | undefined {
  const path = seen.absolute(file.path);
  const entry = seen.at(path);
  const above = ancestors(file.path).map((directory) => seen.absolute(directory));
  const wrong = wrongAbove(above, seen, isRoots) ?? wrongFile(path, seen);
  if (wrong !== undefined) return wrong;
  const missing = above.filter((directory) => seen.at(directory) === undefined);
  const made = missing.length || directoriesMade(entry?.text);
  const content = file.ours ? withMark(file.content, made) : file.content;
  const hasOwner = entry?.uid === (isRoots ? 0 : seen.uid) && entry.mode === 0o644;
  if (entry?.text === content && (hasOwner || !file.ours)) return undefined;
  const options = file.ours || entry === undefined ? (isRoots ? rootsFile : usersFile) : asItIs(entry);
  return { path, content, options, missing };
}

/** Somebody else's file keeps its owner and its mode: there may be a password in it. */
function asItIs({ uid, gid, mode }: Entry): string {
  return `-o ${uid} -g ${gid} -m ${mode.toString(8).padStart(4, "0")}`;
}

/** The directories that were made for a file of ours. */
function madeFor(path: string, seen: Seen): string[] {
  const { text } = seen.at(path) ?? {};
  return isMarked(text) ? ancestors(path).slice(ancestors(path).length - directoriesMade(text)) : [];
}

function deepestFirst(one: string, other: string): number {
  return other.split("/").length - one.split("/").length;
}

function wrongAbove(directories: readonly string[], seen: Seen, isRoots: boolean): StoreFinding | undefined {
  const owner = isRoots ? 0 : seen.uid;
  for (const directory of directories) {
    const wrong = wrongDirectory(directory, seen, owner);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** Whoever may change a directory above a file decides what is in it. */
function wrongDirectory(path: string, seen: Seen, owner: number): StoreFinding | undefined {
  const entry = seen.at(path);
  if (entry === undefined) return undefined;
  const error = (reason: string, hint: string): StoreFinding => ({ level: "error", reason, hint });
  if (entry.kind === "link") {
    return error(`${path} is a symbolic link`, "Put a directory in its place, and run again.");
  }
  if (entry.kind !== "directory") {
    return error(`${path} is not a directory`, "Look at what it is, move it away, and run again.");
  }
  if (entry.uid !== 0 && entry.uid !== owner) {
    const [whose, chown] = owner === 0 ? ["root", "root:root"] : ["the login user", String(owner)];
    return error(`${path} does not belong to ${whose}`, `There: chown ${chown} ${path}`);
  }
  if ((entry.mode & 0o002) !== 0) {
    return error(`everybody may change ${path}`, `There: chmod o-w ${path}`);
  }
  if (seen.closed().includes(path)) {
    return error(
      `${path} can be read by root alone`,
      "Log in as root, or as a user who may run anything there.",
    );
  }
  return undefined;
}

function wrongFile(path: string, seen: Seen): StoreFinding | undefined {
  const entry = seen.at(path);
  if (entry === undefined || entry.kind === "file") return undefined;
  const what = { directory: "a directory", link: "a symbolic link", other: "not a file" }[entry.kind];
  const hint = "Look at what it is, move it away, and run again.";
  return { level: "error", reason: `${path} is ${what}`, hint };
}
