/** A program on this host, with users, sudoers and folders of its own: a mount namespace without an sshd. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** What is written to /etc stays in the folder; and other users get to a checkout below /root, too. */
const ownFolders = [
  "mkdir -p $FOLDER/etc-written $FOLDER/etc-work; mkdir -p -m 755 $FOLDER/root",
  "mount -t overlay -o lowerdir=/etc,upperdir=$FOLDER/etc-written,workdir=$FOLDER/etc-work overlay /etc",
  rootsHome("$FOLDER/root"),
].join("; ");

/**
 * A shell line that mounts a folder at /root. The checkout, which the shell stands in, may lie below /root: it
 * is there still. @param folder as the shell shall read it
 */
export function rootsHome(folder: string): string {
  // As it is, "." is the checkout; mount would make a path of it.
  const again = 'mkdir -p "$PWD"; mount --no-canonicalize --bind . "$PWD"';
  return `mount --bind ${folder} /root; case "$PWD" in /root/*) ${again};; esac`;
}

/**
 * @param setup shell lines, run as root in the namespace; FOLDER is in $FOLDER
 * @param command words, run after them
 * @returns what it wrote to stdout
 */
export async function inOwnNamespace(
  folder: string,
  setup: readonly string[],
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const script = ["set -e", ownFolders, ...setup, 'exec "$@"'].join("\n");
  const { stdout } = await promisify(execFile)("unshare", ["-m", "sh", "-c", script, "sh", ...command], {
    env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8", FOLDER: folder, ...env },
  });
  return stdout;
}
