/**
 * Client hosts without machines: a real sshd in a mount and process namespace of its own, with /etc, /run and
 * /root of its own, so that what is done over SSH is done to that host alone.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { rootsHome } from "./own-namespace.ts";

const run = promisify(execFile);

export interface SshdOptions {
  /** The host's own folder: keys, sshd_config, hosts, run/. Host keys that are there already are used again. */
  folder: string;
  /** default 127.0.0.1 */
  address?: string;
  /** default: a free one; 22 in a network namespace */
  port?: number;
  /** the name of a network namespace under /run/netns */
  netns?: string;
  /** the folder that the host sees as /etc/docker; default FOLDER/etc-docker */
  etcDocker?: string;
  /** public key text that may log in, as any user */
  authorizedKey: string;
  /** lines for sshd_config; what is written there wins */
  extraConfig?: string[];
  /** lines after all others: Match blocks */
  matchConfig?: string[];
  /** shell lines, run as root inside the namespaces before sshd starts; FOLDER is in $FOLDER */
  run?: string[];
}

export interface TestSshd {
  address: string;
  port: number;
  /** a line for known_hosts, without a line end */
  hostKeyLine: string;
  etcDocker: string;
  /** what the host sees as /etc/hosts; write into it to change what it resolves */
  hosts: string;
  /** sshd's process, for `nsenter -t PID -m -p` (and -n) */
  pid: number;
  /** what sshd has logged so far */
  log(): string;
  /** Ends sshd and everything that runs in its process namespace. */
  stop(): Promise<void>;
}

/** Starts the host; returns when sshd listens. Needs root. */
export async function startSshd(options: SshdOptions): Promise<TestSshd> {
  const { folder, address = "127.0.0.1" } = options;
  const etcDocker = options.etcDocker ?? join(folder, "etc-docker");
  const hosts = join(folder, "hosts");
  await mkdir(join(folder, "run/sshd"), { recursive: true, mode: 0o755 });
  await mkdir(etcDocker, { recursive: true, mode: 0o755 });
  await writeUnlessThere(hosts, "127.0.0.1 localhost\n::1 localhost\n");
  await writeFile(join(folder, "run/authorized_keys"), `${options.authorizedKey.trim()}\n`);
  const hostKey = await makeHostKey(folder);
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (options.netns === undefined ? await freePort(address) : 22);
    const text = configuration(options, address, port, folder);
    await writeFile(join(folder, "sshd_config"), text);
    const child = spawnInNamespaces(options, folder, etcDocker, hosts);
    const log: string[] = [];
    child.stderr?.setEncoding("utf8").on("data", (text: string) => log.push(text));
    try {
      await listening(child, log, text.match(/^ListenAddress /gm)?.length ?? 1);
      const pid = await sshdPid(child);
      return {
        address,
        port,
        hostKeyLine: `${port === 22 ? address : `[${address}]:${port}`} ${hostKey}`,
        etcDocker,
        hosts,
        pid,
        log: () => log.join(""),
        stop: () => stop(child),
      };
    } catch (error) {
      await stop(child);
      // Somebody else took the free port in between: try another.
      if (options.port !== undefined || options.netns !== undefined || attempt === 5) throw error;
    }
  }
}

async function writeUnlessThere(file: string, text: string): Promise<void> {
  await access(file).catch(() => writeFile(file, text));
}

/** Makes an ed25519 host key unless there is one. Returns "type base64" of the public half. */
async function makeHostKey(folder: string): Promise<string> {
  const file = join(folder, "host_ed25519");
  await access(file).catch(() => run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file]));
  return (await readFile(`${file}.pub`, "utf8")).trim();
}

function configuration(options: SshdOptions, address: string, port: number, folder: string): string {
  return [
    ...(options.extraConfig ?? []),
    `ListenAddress ${address.includes(":") ? `[${address}]` : address}:${port}`,
    `HostKey ${folder}/host_ed25519`,
    "AuthorizedKeysFile /run/authorized_keys", // sshd reads it as the user who logs in,
    "PidFile none",
    "StrictModes no",
    "UsePAM no",
    "UseDNS no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "MaxStartups 200",
    "LogLevel VERBOSE",
    ...(options.matchConfig ?? []),
    "",
  ].join("\n");
}

/** The process namespace makes everything inside end with its first process, sshd. */
function spawnInNamespaces(
  options: SshdOptions,
  folder: string,
  etcDocker: string,
  hosts: string,
): ChildProcess {
  const script = [
    "set -e",
    // What is written to any other place in /etc stays in the host's folder, too.
    'mkdir -p "$FOLDER/etc-written" "$FOLDER/etc-work"',
    'mount -t overlay -o "lowerdir=/etc,upperdir=$FOLDER/etc-written,workdir=$FOLDER/etc-work" overlay /etc',
    'mkdir -p /etc/docker; mount --bind "$ETC_DOCKER" /etc/docker',
    'mount --bind "$HOSTS" /etc/hosts',
    'mount --bind "$FOLDER/run" /run',
    // This machine's own may have a .bashrc that bash runs for each command over SSH.
    `mkdir -p -m 700 "$FOLDER/root"; ${rootsHome('"$FOLDER/root"')}`,
    ...(options.run ?? []),
    'exec /usr/sbin/sshd -D -e -f "$FOLDER/sshd_config"',
  ].join("\n");
  const inNetns = options.netns === undefined ? [] : ["nsenter", `--net=/run/netns/${options.netns}`];
  const unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const command = ["--pdeathsig", "KILL", ...inNetns, ...unshare, "/bin/sh", "-c", script];
  return spawn("setpriv", command, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, FOLDER: folder, ETC_DOCKER: etcDocker, HOSTS: hosts },
  });
}

/** Waits for sshd's own word that it listens at each of its addresses. */
async function listening(child: ChildProcess, log: string[], addresses: number): Promise<void> {
  const deadline = Date.now() + 60_000;
  while ((log.join("").match(/Server listening on/g)?.length ?? 0) < addresses) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      throw new Error(`sshd did not start: ${log.join("")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** sshd is the one child of unshare. */
async function sshdPid(child: ChildProcess): Promise<number> {
  return Number.parseInt(await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8"), 10);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  const first = await sshdPid(child).catch(() => Number.NaN);
  if (Number.isNaN(first)) child.kill("SIGKILL");
  else process.kill(first, "SIGKILL");
  await closed;
}

/** A port that was free a moment ago. */
export async function freePort(address = "127.0.0.1"): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, "listening");
  const bound = server.address();
  server.close();
  await once(server, "close");
  if (bound === null || typeof bound === "string") throw new Error("no port");
  return bound.port;
}

/** Makes a key pair at FILE and FILE.pub with ssh-keygen; returns the public key's text. */
export async function makeKey(file: string, passphrase = ""): Promise<string> {
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-C", "lab", "-f", file]);
  return (await readFile(`${file}.pub`, "utf8")).trim();
}

/** Gives one host the host key of another, as a machine that was set up anew from its backup. */
export async function copyHostKey(from: string, to: string): Promise<void> {
  for (const suffix of ["", ".pub"]) {
    await copyFile(join(from, `host_ed25519${suffix}`), join(to, `host_ed25519${suffix}`));
  }
}
