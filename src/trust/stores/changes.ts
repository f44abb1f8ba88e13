/** From what the stores want to what has to be done: nothing where it is as it should be. */
import type { Changes } from "./apply.ts";
import { ancestors } from "./look.ts";
import { directoriesMade, isMarked, withMark } from "./mark.ts";
import type { Entry, Seen } from "./seen.ts";
import type { StoreFinding, StorePlan } from "./store.ts";

/** Of a new file, for install(1). The first are the words that the lines for sudoers have (docs/sudo.md). */
const rootsFile = "-o root -g root -m 0644";
const usersFile = "-m 0644";

/**
 * @param isRoots whose the files shall be: root's, or else the login user's
 * @returns no changes where all is as it should be; also what keeps a file from being
 *   written, and then that file is not in the changes
 */
export function changesFor(
  plan: StorePlan,
  seen: Seen,
  isRoots: boolean,
): { changes: Changes | undefined; findings: StoreFinding[] } {
  const owner = isRoots ? 0 : seen.uid;
  const make = new Set<string>();
  const changes: Changes = { make: [], write: [], remove: [], removeDirectories: [] };
  const findings = new Map<string, StoreFinding>();
  for (const { path: named, content, ours } of plan.files) {
    const path = seen.absolute(named);
    const entry = seen.at(path);
    const above = ancestors(named).map((directory) => seen.absolute(directory));
    const missing = above.filter((directory) => seen.at(directory) === undefined);
    const wrong = [...above.map((each) => wrongDirectory(each, seen, owner)), wrongFile(path, seen)]
      .filter((finding) => finding !== undefined)
      .at(0);
    if (wrong !== undefined) {
      findings.set(wrong.reason, wrong);
      continue;
    }
    const text = ours ? withMark(content, missing.length || directoriesMade(entry?.text)) : content;
    const isRight = !ours || (entry?.uid === owner && entry.mode === 0o644);
    if (isRight && entry?.text === text) continue;
    for (const directory of missing) make.add(directory);
    const isNew = ours || entry === undefined;
    const options = isNew ? (isRoots ? rootsFile : usersFile) : asItIs(entry);
    changes.write.push({ path, content: text, options });
  }
  changes.make = [...make];
  const written = changes.write.map(({ path }) => path);
  const gone = [...new Set(plan.gone.map((path) => seen.absolute(path)))].filter(
    (path) => seen.at(path) !== undefined && !written.includes(path),
  );
  changes.remove = gone;
  changes.removeDirectories = [...new Set(gone.flatMap((path) => madeFor(path, seen)))].sort(deepestFirst);
  if (plan.afterwards !== undefined) changes.afterwards = plan.afterwards;
  const isNothing = changes.write.length + changes.remove.length === 0 && plan.afterwards?.isDue !== true;
  return { changes: isNothing ? undefined : changes, findings: [...findings.values()] };
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
