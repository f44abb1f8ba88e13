/** A program on this host, with users, sudoers and folders of its own: a mount namespace without an sshd. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** What is written to /etc stays in the folder. */
const ownEtc = [
  "mkdir -p $FOLDER/etc-written $FOLDER/etc-work",
  "mount -t overlay -o lowerdir=/etc,upperdir=$FOLDER/etc-written,workdir=$FOLDER/etc-work overlay /etc",
].join("; ");

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
  const script = ["set -e", ownEtc, ...setup, 'exec "$@"'].join("\n");
  const { stdout } = await promisify(execFile)("unshare", ["-m", "sh", "-c", script, "sh", ...command], {
    env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8", FOLDER: folder, ...env },
  });
  return stdout;
}
