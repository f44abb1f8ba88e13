/**
 * A client host with a Debian of its own: everything in it is its own but the kernel, so that packages can be
 * installed there. Its first process is systemd, or else sshd.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeCgroups } from "./cgroups.ts";
import type { SiteClient } from "./clients.ts";
import { debianRoot } from "./debian-root.ts";
import { type Inside, insideNamespaces, pidInside } from "./host.ts";
import { run, startService, waitFor } from "./process.ts";

export interface DebianOptions {
  /** what is written there lies in FOLDER/written */
  folder: string;
  /** unlike any other's on this machine */
  name: string;
  /** the network namespace's name below /run/netns */
  netns: string;
  address: string;
  keyFile: string;
  /** public key text that may log in, as any user */
  authorizedKey: string;
  /** lines for /etc/hosts, besides localhost */
  hosts?: string[];
  /** whether systemd is its first process */
  systemd?: boolean;
  /** shell lines, run as root in the new root's folder before it becomes "/" */
  run?: string[];
}

export interface DebianClient extends Omit<SiteClient, "etcDocker" | "hosts"> {
  /** "/" of the host, as seen from outside */
  root: string;
}

/** sshd answers when this returns. Needs root. */
export async function startDebian(options: DebianOptions): Promise<DebianClient> {
  const { folder, name, netns, address } = options;
  const lower = await debianRoot();
  for (const part of ["written", "work", "root", "docker"])
    await mkdir(join(folder, part), { recursive: true, mode: 0o755 });
  const etc = join(folder, "written/etc");
  await mkdir(join(etc, "ssh/sshd_config.d"), { recursive: true, mode: 0o755 });
  await mkdir(join(etc, "docker"), { mode: 0o755 });
  await writeFile(join(etc, "ssh/lab_keys"), `${options.authorizedKey.trim()}\n`);
  await writeFile(join(etc, "ssh/sshd_config.d/lab.conf"), sshdLines(address));
  const hosts = ["127.0.0.1 localhost", "::1 localhost", ...(options.hosts ?? []), ""];
  await writeFile(join(etc, "hosts"), hosts.join("\n"));
  // The network namespace is the site's, whose engine has the bridge and the rules.
  await writeFile(join(etc, "docker/daemon.json"), '{ "bridge": "none", "iptables": false }\n');

  const first = options.systemd
    ? "exec env -i container=lab PATH=$PATH /lib/systemd/systemd"
    : "exec /usr/sbin/sshd -D -e";
  const inner = [...mounts, ...(options.run ?? []), "pivot_root . mnt; umount -l /mnt", first].join("\n");
  const namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup"];
  const words = ["nsenter", `--net=/run/netns/${netns}`, "unshare", ...namespaces, "/bin/sh", "-c", inner];
  const service = await startService("/bin/sh", ["-c", ownCgroup, "sh", ...words], {
    log: join(folder, "host.log"),
    env: { PATH: path, FOLDER: folder, LOWER: lower, CGROUP: name },
    signal: "SIGKILL",
  });
  let pid: number | undefined;
  const stop = async () => {
    // The first process ends after all the others have, so that their control groups are empty.
    if (pid !== undefined && service.running()) process.kill(pid, "SIGKILL");
    else await service.stop();
    await service.ended;
    await removeCgroups(name);
  };
  try {
    await waitFor("the Debian host's sshd", service, 60, async () => {
      const knock = ["bash", "-c", `read -t 2 line </dev/tcp/${address}/22 && [[ $line == SSH* ]]`];
      const args = [`--net=/run/netns/${netns}`, "--", ...knock];
      return (await run("nsenter", args, { mayFail: true })).code === 0 || undefined;
    });
    // Not before: setting up has child processes, too.
    pid = await pidInside(service.pid);
    const hostKey = await readFile(join(lower, "etc/ssh/ssh_host_ed25519_key.pub"), "utf8");
    return {
      ...insideOf(pid),
      ...{ name, address, port: 22, user: "root", keyFile: options.keyFile },
      hostKeyLine: `${address} ${hostKey.trim()}`,
      root: `/proc/${pid}/root`,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function sshdLines(address: string): string {
  return [
    `ListenAddress ${address}:22`,
    "AuthorizedKeysFile /etc/ssh/lab_keys",
    "StrictModes no",
    "UsePAM no",
    "UseDNS no",
    "PermitRootLogin prohibit-password",
    "PasswordAuthentication no",
    "",
  ].join("\n");
}

/** In each hierarchy of version 1, or the one of version 2. */
const ownCgroup = `
set -e
for parent in /sys/fs/cgroup /sys/fs/cgroup/*; do
  if [ ! -w "$parent/cgroup.procs" ] || [ -h "$parent" ]; then continue; fi
  mkdir -p "$parent/$CGROUP"
  for file in cpuset.cpus cpuset.mems; do
    if [ -f "$parent/$file" ]; then cat "$parent/$file" >"$parent/$CGROUP/$file"; fi
  done
  echo $$ >"$parent/$CGROUP/cgroup.procs"
done
exec "$@"
`;

/** Docker's data lie outside: an overlay can't hold another one. */
const mounts = [
  "set -e; umask 022",
  'mount -t overlay -o "lowerdir=$LOWER,upperdir=$FOLDER/written,workdir=$FOLDER/work" overlay "$FOLDER/root"',
  'cd "$FOLDER/root"',
  "mount -t proc proc proc; mount -t sysfs -o ro sysfs sys",
  "mount -t tmpfs -o mode=755 tmpfs run; mkdir run/sshd",
  "mount -t tmpfs -o mode=755 tmpfs dev; mkdir dev/pts dev/shm",
  "for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done",
  "mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts; ln -s pts/ptmx dev/ptmx",
  "ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr",
  "mkdir -p var/lib/docker; mount --bind $FOLDER/docker var/lib/docker",
  'if [ -d "/sys/fs/cgroup/$CGROUP" ] && [ -f /sys/fs/cgroup/cgroup.controllers ]; then',
  "  mount --bind /sys/fs/cgroup/$CGROUP sys/fs/cgroup",
  "else",
  "  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup",
  "  for own in /sys/fs/cgroup/*/$CGROUP; do",
  '    controller=$(basename "$(dirname "$own")")',
  "    mkdir sys/fs/cgroup/$controller; mount --bind $own sys/fs/cgroup/$controller",
  "  done",
  "fi",
];

const itsNamespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"];

function insideOf(pid: number): Inside {
  return insideNamespaces(pid, itsNamespaces, { PATH: path, HOME: "/root", LC_ALL: "C" }, "/");
}
