/** Preflight's check of what kind of file system the site's directory is on. */
import { readFile, realpath } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Finding } from "./finding.ts";
import { nearest } from "./preflight-site.ts";

/** Types as the kernel names them, in the mount table. */
const network =
  /^(nfs4?|cifs|smb3|smbfs|9p|ceph|afs|lustre|glusterfs|fuse\.(sshfs|glusterfs|rclone|s3fs|davfs))$/;
/** They keep neither owner nor mode of a file. */
const withoutPermissions = /^(vfat|msdos|exfat)$/;
const foldsCase = /^(ntfs3?|fuseblk|fuse\.ntfs-3g|ufsd|hfs|hfsplus|vboxsf)$/;

export interface Mount {
  /** where it is mounted */
  path: string;
  /** "ext4" */
  type: string;
  /** "/dev/sda1", "server:/export" */
  source: string;
  /** The file system has failed; the kernel lets nobody write to it, though access(2) may say otherwise. */
  failed: boolean;
}

/**
 * @param path need not exist yet
 * @param table the process's mounts, /proc/self/mountinfo
 */
export async function checkFileSystem(
  path: string,
  index: Pick<BundleIndex, "repositories">,
  table = "/proc/self/mountinfo",
): Promise<Finding[]> {
  const text = await readFile(table, "utf8").catch(() => "");
  const mount = mountOf(await realpath(await nearest(path)), text);
  if (mount === undefined) return [];
  const found = judge(path, mount, sameButForCase(index));
  return [{ check: "file system", ...found }];
}

function judge(
  path: string,
  { type, source, failed }: Mount,
  clash: string | undefined,
): Omit<Finding, "check"> {
  const elsewhere = "Name a directory on a file system of Linux's own (ext4, XFS, Btrfs) with --site.";
  if (failed) {
    return {
      level: "error",
      text: `${path} is on a file system that has failed: the kernel lets nobody write to it any more`,
      hint: `\`dmesg\` shows why. Stop the engine, unmount ${source}, check it (fsck), and mount it again; or ${lowerFirst(elsewhere)}`,
    };
  }
  if (withoutPermissions.test(type)) {
    const limit = type === "exfat" ? "" : ", and has no room for a file of 4 GiB";
    const text = `${path} is on ${type}, which keeps no permissions: everybody could read the server's key${limit}`;
    return { level: "error", text, hint: elsewhere };
  }
  if (foldsCase.test(type)) {
    const text = `${path} is on ${type}, which may take "V1" and "v1" for the same name`;
    if (clash === undefined) return { level: "warning", text, hint: elsewhere };
    return { level: "error", text: `${text}, and the bundle has ${clash}`, hint: elsewhere };
  }
  if (network.test(type)) {
    return {
      level: "warning",
      text: `${path} is on a network file system (${type}, ${source})`,
      hint:
        "Whether the registry is whole after a power cut depends on the other side then, and whether root " +
        "may write there. Name a directory on a disk of this host with --site if there is one.",
    };
  }
  return { level: "ok", text: `${path} is on ${type}` };
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}

/** `team/app:V1 and team/app:v1` */
function sameButForCase({ repositories }: Pick<BundleIndex, "repositories">): string | undefined {
  for (const [repository, { tags }] of Object.entries(repositories)) {
    const seen = new Map<string, string>();
    for (const tag of Object.keys(tags)) {
      const other = seen.get(tag.toLowerCase());
      if (other !== undefined) return `${repository}:${other} and ${repository}:${tag}`;
      seen.set(tag.toLowerCase(), tag);
    }
  }
  return undefined;
}

/**
 * The mount that a path is on. @param path real, without symbolic links
 * @param table the lines of mountinfo, proc_pid_mountinfo(5); of two mounts at one place the later one is seen
 */
export function mountOf(path: string, table: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of table.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const at = unescaped(before.split(" ")[4] ?? "");
    const [type = "", source = "", options = ""] = after.split(" ");
    const holds = at === "/" || path === at || path.startsWith(`${at}/`);
    if (at !== "" && holds && at.length >= (found?.path.length ?? 0)) {
      const failed = options.split(",").some((option) => option === "emergency_ro" || option === "shutdown");
      found = { path: at, type, source: unescaped(source), failed };
    }
  }
  return found;
}

/** Space, tab, line feed and backslash are written as \040 and so on. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
