/**
 * Hosts without machines: a process namespace and a mount namespace in which /etc, /run and /srv are a
 * folder's own. When the first process ends, the kernel ends all others and takes the mounts away.
 */
import { cp, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type RunOptions, type RunResult, run, startService, waitFor } from "./process.ts";

/** How to get inside a host, from its first process's id. */
export interface Inside {
  /**
   * The command and arguments that run a command inside, for `spawn` (with `env`). It ends as the command
   * does, by exit code or signal. SIGKILL ends both; for other signals see pidInside.
   */
  enter(command: string, args: readonly string[], cwd?: string): [string, string[]];
  /** PATH, language and terminal as ours, with the host's HOME and DOCKER_HOST. */
  env: NodeJS.ProcessEnv;
  /** Runs a command inside, to its end. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>;
}

export interface TestHost extends Inside {
  pid: number;
  stop(): Promise<void>;
}

/**
 * Starts a host in a network namespace. FOLDER/etc (a copy of this machine's, without /etc/docker and
 * /etc/drydock), FOLDER/run, FOLDER/srv and FOLDER/home are its /etc, /run, /srv and HOME. Needs root.
 * @param options.hosts lines for /etc/hosts, besides localhost
 */
export async function startHost(options: {
  folder: string;
  netns: string;
  hosts: string[];
}): Promise<TestHost> {
  const { folder, netns } = options;
  for (const name of ["run", "srv", "home"])
    await mkdir(join(folder, name), { recursive: true, mode: 0o755 });
  await copyEtc(join(folder, "etc"), options.hosts);

  const script = [
    "set -e",
    'for name in etc run srv; do mount --bind "$FOLDER/$name" "/$name"; done',
    "echo ready",
    // The first process of a namespace inherits orphans: the shell's wait buries them.
    "sleep infinity & while :; do wait; done",
  ].join("\n");
  const namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const service = await startService(
    "nsenter",
    [`--net=/run/netns/${netns}`, ...namespaces, "/bin/sh", "-c", script],
    { log: join(folder, "host.log"), env: { ...process.env, FOLDER: folder }, signal: "SIGKILL" },
  );
  try {
    await waitFor("the host's namespaces", service, 20, async () => {
      return (await service.readLog()).includes("ready") ? true : undefined;
    });
    const pid = await pidInside(service.pid);
    return { pid, ...inside(pid, join(folder, "home")), stop: service.stop };
  } catch (error) {
    await service.stop();
    throw error;
  }
}

/** @param pid of any process inside @param home the host's HOME, as a path inside */
export function inside(pid: number, home: string): Inside {
  const env = { ...loginEnvironment(), HOME: home, DOCKER_HOST: "unix:///run/docker.sock" };
  return insideNamespaces(pid, ["--mount", "--pid", "--net"], env, process.cwd());
}

/** @param namespaces those of the process `pid`, as nsenter calls them @param home the working directory, if none is said */
export function insideNamespaces(
  pid: number,
  namespaces: readonly string[],
  env: NodeJS.ProcessEnv,
  home: string,
): Inside {
  const enter: Inside["enter"] = (command, args, cwd = home) => [
    "nsenter",
    [
      ...["--target", String(pid), ...namespaces, `--wdns=${cwd}`, "--"],
      // nsenter stays outside and waits; whoever kills it means the command.
      ...["setpriv", "--pdeathsig", "KILL", "--", command, ...args],
    ],
  ];
  return {
    enter,
    env,
    run: (command, args, options = {}) => {
      const [program, all] = enter(command, args, options.cwd);
      return run(program, all, { ...options, env: { ...env, ...options.env } });
    },
  };
}

/**
 * The id, as seen from outside, of the command itself: `enter`'s process passes no signals on.
 * @param pid of the process that `enter`'s words started
 */
export async function pidInside(pid: number | undefined): Promise<number> {
  for (let attempt = 1; attempt <= 100; attempt += 1) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
    if (children !== "") return Number.parseInt(children, 10);
    await sleep(20);
  }
  throw new Error(`find the command inside: process ${pid} has no child`);
}

/** Only what a plain login has: nothing of this machine's own engine, proxy, certificates or SSH agent. */
export function loginEnvironment(): NodeJS.ProcessEnv {
  // NODE_COMPILE_CACHE only saves time: see scripts/test.ts.
  const plain = /^(PATH|LANG|LC_.*|TZ|TERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|TMPDIR|NODE_COMPILE_CACHE)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => plain.test(name)));
}

async function copyEtc(etc: string, hosts: string[]): Promise<void> {
  const filter = async (path: string) => {
    const entry = await lstat(path);
    return entry.isFile() || entry.isDirectory() || entry.isSymbolicLink();
  };
  await cp("/etc", etc, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true, filter });
  for (const name of ["docker", "drydock", "hosts", "resolv.conf"]) {
    await rm(join(etc, name), { recursive: true, force: true });
  }
  await mkdir(join(etc, "docker"));
  await writeFile(join(etc, "hosts"), ["127.0.0.1 localhost", "::1 localhost", ...hosts, ""].join("\n"));
  await writeFile(join(etc, "resolv.conf"), "");
}
