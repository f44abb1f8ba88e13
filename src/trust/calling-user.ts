/**
 * Who called: under sudo this is not root but the user who typed it, whose keys and known hosts are meant.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { userInfo } from "node:os";
import { promisify } from "node:util";

export interface CallingUser {
  name: string;
  /** as the system's user database has it, which is where ssh looks too; not $HOME */
  home: string;
  uid: number;
  gid: number;
  /** this process is root by sudo: what belongs to the user is done as that user */
  viaSudo: boolean;
}

/** @param environment SUDO_UID counts where this process is root */
export async function callingUser(environment: NodeJS.ProcessEnv = process.env): Promise<CallingUser> {
  const own = userInfo();
  const self = { name: own.username, home: own.homedir, uid: own.uid, gid: own.gid, viaSudo: false };
  const { SUDO_UID = "" } = environment;
  if (own.uid !== 0 || !/^[1-9]\d*$/.test(SUDO_UID)) return self;
  try {
    const { stdout } = await promisify(execFile)("getent", ["passwd", SUDO_UID]);
    const [name, , uid, gid, , home] = stdout.trim().split(":");
    if (!name || !home?.startsWith("/") || uid !== SUDO_UID) return self;
    return { name, home, uid: Number(uid), gid: Number(gid), viaSudo: true };
  } catch {
    return self;
  }
}

/** What `spawn` needs so that a child runs as the calling user, with that user's HOME. */
export function asUser(user: CallingUser): { uid?: number; gid?: number; env: NodeJS.ProcessEnv } {
  if (!user.viaSudo) return { env: process.env };
  const env = { ...process.env, HOME: user.home, USER: user.name, LOGNAME: user.name };
  return { uid: user.uid, gid: user.gid, env };
}

/**
 * Appends to a file of the user's in one write, as that user: root itself would follow whatever link lies there.
 * The file is made 0600, and its folder 0700, where they are not there.
 * @throws Error with the shell's words
 */
export async function appendAs(user: CallingUser, file: string, text: string): Promise<void> {
  const script = 'umask 077; mkdir -p -- "$(dirname -- "$1")" && cat >>"$1"';
  const child = spawn("/bin/sh", ["-c", script, "sh", file], {
    ...asUser(user),
    stdio: ["pipe", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    said += chunk;
  });
  child.stdin.on("error", () => undefined); // it ended before it read: its exit says why
  child.stdin.end(text);
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(said.trim().split("\n").at(-1) ?? `exit ${code}`);
}
