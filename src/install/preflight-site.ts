/** Preflight's checks of the site's directory: whose it is, whether we may write, and the space. */
import { constants } from "node:fs";
import { access, readdir, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { listed } from "../archive/damage.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { SiteLayout } from "../site/layout.ts";
import { isClaimed, leftAt } from "../site/marker.ts";
import type { Finding } from "./finding.ts";
import type { SpaceNeeded } from "./space.ts";

/**
 * The site's directory is absent, drydock's, or holds nothing where a registry's things would be, unless that
 * is taken over. @param toAdopt the command that would take it over; undefined: it is taken over
 */
export async function checkDirectory(layout: SiteLayout, toAdopt: string | undefined): Promise<Finding[]> {
  if (await isClaimed(layout)) return [{ check: "site", level: "ok", text: `${layout.root} is drydock's` }];
  // Releases are drydock's alone: where these came from is not known.
  const data = toAdopt === undefined ? [] : [layout.certs, layout.storage, layout.files];
  const [root, ...folders] = await Promise.all([layout.root, ...data, layout.releases].map(contents));
  if (root === undefined) {
    return [{ check: "site", level: "ok", text: `${layout.root} will be made` }];
  }
  const foreign = folders.filter((folder) => folder !== undefined && folder.names.length > 0);
  if (foreign.length === 0) {
    const text = `${layout.root} ${toAdopt === undefined ? "is taken over" : "is free"}`;
    return [{ check: "site", level: "ok", text }];
  }
  const left = await leftAt(layout);
  const what =
    left === undefined
      ? "what drydock did not put there"
      : `data kept by \`drydock uninstall\` on ${left.slice(0, 10)}`;
  return [
    {
      check: "site",
      level: "error",
      text: `${listed(foreign.map((one) => one?.path ?? ""))} ${foreign.length === 1 ? "holds" : "hold"} ${what}`,
      hint:
        toAdopt === undefined
          ? "Move it away, or name another directory with --site."
          : `To take it over, with all that is in it: \`${toAdopt}\`. Or move it away, or name another directory with --site.`,
    },
  ];
}

/** @returns undefined if it isn't there. @throws DrydockError "preflight" if it is no folder. */
async function contents(path: string): Promise<{ path: string; names: string[] } | undefined> {
  try {
    const names = await readdir(path);
    return { path, names: names.filter((name) => name !== "lost+found") };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw new DrydockError("preflight", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}

/** Each folder that exists, or else the nearest one above it, can be written. Says it once of a folder and those in it. */
export async function checkWritable(paths: string[]): Promise<Finding[]> {
  const folders = new Set(await Promise.all(paths.map(nearest)));
  const findings = await Promise.all(
    [...folders].map(async (path) => ({ path, found: await writable(path) })),
  );
  const bad = findings.filter(({ found }) => found.length > 0);
  if (bad.length === 0) {
    return [{ check: "permissions", level: "ok", text: `may write in ${[...folders].join(", ")}` }];
  }
  const isInside = ({ path }: { path: string }) => bad.some((other) => path.startsWith(`${other.path}/`));
  return bad.filter((one) => !isInside(one)).flatMap(({ found }) => found);
}

async function writable(path: string): Promise<Finding[]> {
  try {
    await access(path, constants.W_OK | constants.X_OK);
    return [];
  } catch (error) {
    const readOnly = errorCode(error) === "EROFS";
    return [
      {
        check: "permissions",
        level: "error",
        text: `cannot write in ${path}: ${readOnly ? "its file system is mounted read-only" : errorText(error)}`,
        hint: readOnly
          ? "Mount it for writing, or name another directory with --site."
          : "Run the command as root, or as a user that may write there.",
      },
    ];
  }
}

/**
 * What is needed on each file system, against what is free there for us (statfs(2), f_bavail).
 * @param serving the directory of a site that serves already: it stays there, and older releases may go
 */
export async function checkSpace(needed: SpaceNeeded[], serving?: string): Promise<Finding[]> {
  const systems = new Map<number, SpaceNeeded>();
  for (const one of needed) {
    const path = await nearest(one.path);
    const { dev } = await stat(path);
    const sum = systems.get(dev) ?? { path, bytes: 0, inodes: 0 };
    systems.set(dev, { ...sum, bytes: sum.bytes + one.bytes, inodes: sum.inodes + one.inodes });
  }
  const findings = await Promise.all([...systems.values()].map((one) => checkFileSystem(one, serving)));
  return findings.flat();
}

async function checkFileSystem(
  { path, bytes, inodes }: SpaceNeeded,
  serving: string | undefined,
): Promise<Finding[]> {
  const { bavail, bsize, files, ffree } = await statfs(path);
  const free = bavail * bsize;
  const findings: Finding[] = [];
  if (bytes > free) {
    findings.push({
      check: "space",
      level: "error",
      text: `${megabytes(bytes)} are needed in ${path}, ${megabytes(free)} are free`,
      hint: `Free ${megabytes(bytes - free)} there${
        serving !== undefined && `${path}/`.startsWith(`${serving}/`)
          ? ". `drydock prune --dry-run` tells what older releases take."
          : ", or name a directory on another disk with --site."
      }`,
    });
  }
  // Btrfs and others make inodes as they are needed, and say that they have none.
  if (files > 0 && inodes > ffree) {
    findings.push({
      check: "space",
      level: "error",
      text: `${inodes} files and folders are to be made in ${path}, its file system has room for ${ffree}`,
      hint: "Name a directory on a file system that has more inodes with --site.",
    });
  }
  if (findings.length > 0) return findings;
  const text = `${megabytes(Math.max(0, bytes))} are needed in ${path}, ${megabytes(free)} are free`;
  return [{ check: "space", level: "ok", text }];
}

/** The path, or the nearest folder above it that exists. */
export async function nearest(path: string): Promise<string> {
  try {
    await stat(path);
    return path;
  } catch (error) {
    if (errorCode(error) === "ENOENT" && path !== dirname(path)) return nearest(dirname(path));
    throw new DrydockError("preflight", `look at "${path}": ${errorText(error)}`, {
      hint: errorCode(error) === "EACCES" ? "Run the command as root." : undefined,
      cause: error,
    });
  }
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6).toLocaleString("en")} MB`;
}
