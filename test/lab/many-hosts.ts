/**
 * Hundreds of client hosts with few sshds: each listens at sixteen addresses, which is as many as it takes, and gives
 * every session the /etc/docker, and the trouble, of the address that was connected to.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { without } from "./clients.ts";
import { startSshd, type TestSshd } from "./sshd.ts";
import { withSudoers, withUsers } from "./users.ts";

/** What is wrong with a host, or only unlike others. */
export type Trouble =
  | "wrong key"
  | "unknown host key"
  | "changed host key"
  | "closed port"
  | "silent"
  | "drops in a write"
  | "drops once"
  | "no sudo"
  | "sudo wants a password"
  | "read-only"
  | "early clock"
  | "loud"
  | "forwards nothing";

export interface ManyHost {
  name: string;
  address: string;
  trouble?: Trouble | undefined;
}

interface Options {
  folder: string;
  netns: string;
  authorizedKey: string;
  /** lines for every /etc/hosts */
  resolves: string[];
}

const perSshd = 16;
const faketime = `/usr/lib/${process.arch === "x64" ? "x86_64" : "aarch64"}-linux-gnu/faketime/libfaketime.so.1`;

/** ForceCommand: the words of SSH_CONNECTION are the client's address and port, then the host's. */
const session = (folder: string) => `#!/bin/sh
command=$SSH_ORIGINAL_COMMAND; set -- $SSH_CONNECTION
host=${folder}/hosts/$3; trouble=$(cat $host/trouble)
case "$trouble" in
  loud) echo Welcome; echo Careful >&2; umask 077;;
  early*) export LD_PRELOAD=${faketime} "FAKETIME=2001-02-03 04:05:00";;
esac
[ "$(id -u)" = 0 ] || exec /bin/sh -c "$command"
export command host trouble sshd=$PPID
exec unshare --mount /bin/sh -c '
  mount --bind $host/docker /etc/docker
  case "$trouble" in
    read-only) mount -o remount,ro,bind /etc/docker;;
    "drops once") case "$command" in *drydock:changed*)
      /bin/sh -c "$command" >/dev/null; echo none >$host/trouble; kill -KILL $sshd; exit;;
    esac;;
    drops*) case "$command" in *drydock:changed*)
      { head -c 100; sleep 0.2; kill -KILL $sshd; } | /bin/sh -c "$command"; exit;;
    esac;;
  esac
  exec /bin/sh -c "$command"'
`;

/** A host's /etc/docker, as seen from outside. */
export function etcDockerOf(folder: string, { address }: ManyHost): string {
  return join(folder, "hosts", address, "docker");
}

/** @param parts what is stopped in the end @returns the sshds; the one of the silent hosts is the last */
export async function startManyHosts(
  hosts: readonly ManyHost[],
  options: Options,
  parts: AsyncDisposableStack,
): Promise<TestSshd[]> {
  for (const host of hosts) {
    await mkdir(etcDockerOf(options.folder, host), { recursive: true });
    await setTrouble(options.folder, host, host.trouble);
  }
  await writeFile(join(options.folder, "session"), session(options.folder), { mode: 0o755 });
  const up = hosts.filter(({ trouble }) => trouble !== "closed port");
  const {
    silent = [],
    "no sudo": withoutSudo = [],
    others = [],
  } = Object.groupBy(up, ({ trouble }) =>
    trouble === "silent" || trouble === "no sudo" ? trouble : "others",
  );
  const groups = Array.from({ length: Math.ceil(others.length / perSshd) }, (_, at) =>
    others.slice(at * perSshd, (at + 1) * perSshd),
  );
  return await pLimit(4).map([...groups, withoutSudo, silent], async (group, at) => {
    const sshd = await startGroup(group, join(options.folder, `sshd-${at}`), options);
    parts.defer(sshd.stop);
    // The kernel accepts connections for it.
    if (group === silent) process.kill(sshd.pid, "SIGSTOP");
    return sshd;
  });
}

export async function setTrouble(folder: string, { address }: ManyHost, trouble?: Trouble): Promise<void> {
  await writeFile(join(folder, "hosts", address, "trouble"), trouble ?? "none");
}

async function startGroup(group: ManyHost[], own: string, options: Options): Promise<TestSshd> {
  await mkdir(own);
  const resolves = ["127.0.0.1 localhost", ...options.resolves, ""];
  await writeFile(join(own, "hosts"), resolves.join("\n"));
  const [first, ...others] = group;
  if (first === undefined) throw new Error("a group without hosts");
  const match = (trouble: Trouble, ...lines: string[]) => {
    const addresses = group.filter((host) => host.trouble === trouble).map(({ address }) => address);
    return addresses.length === 0 ? [] : [`Match LocalAddress ${addresses.join(",")}`, ...lines];
  };
  return await startSshd({
    ...{ folder: own, netns: options.netns, address: first.address, authorizedKey: options.authorizedKey },
    extraConfig: [
      ...others.map(({ address }) => `ListenAddress ${address}:22`),
      `ForceCommand ${options.folder}/session`,
      "MaxSessions 10",
    ],
    matchConfig: [
      ...match("wrong key", "AuthorizedKeysFile none"),
      ...match("forwards nothing", "AllowTcpForwarding no", "AllowStreamLocalForwarding no"),
      ...match("loud", "Banner /etc/issue"),
    ],
    run: [
      ...withUsers({ name: "ops" }, { name: "dev", uid: 4712, password: "secret" }),
      ...withSudoers("dev ALL=(ALL) ALL"),
      ...(first.trouble === "no sudo" ? without("sudo") : []),
    ],
  });
}

/** How often each address was connected to. */
export function connectionsTo(sshds: readonly TestSshd[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const sshd of sshds) {
    for (const [, address = ""] of sshd.log().matchAll(/Connection from \S+ port \d+ on (\S+) port 22/g))
      counts.set(address, (counts.get(address) ?? 0) + 1);
  }
  return counts;
}
