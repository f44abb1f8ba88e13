/** The clients of a site: hosts that one may reach over SSH, and one that one may not. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startEngine, type TestEngine } from "./engine.ts";
import { type Inside, inside } from "./host.ts";
import { makeKey, startSshd } from "./sshd.ts";

export interface SiteClient extends Inside {
  /** its name in the inventory */
  name: string;
  address: string;
  port: number;
  user: string;
  /** the private key that is offered; the client that refuses us does not know it */
  keyFile: string;
  /** for known_hosts */
  hostKeyLine: string;
  /** the folder that it sees as /etc/docker, as seen from outside */
  etcDocker: string;
  /** what it sees as /etc/hosts */
  hosts: string;
  stop(): Promise<void>;
}

export interface ClientOptions {
  folder: string;
  name: string;
  netns: string;
  address: string;
  keyFile: string;
  authorizedKey: string;
  /** lines for /etc/hosts, besides localhost */
  hosts: string[];
  /** docker: an engine of its own; podman: Podman and skopeo, and no Docker to be found; none: neither */
  engine: "docker" | "podman" | "none";
}

/** Starts a client: a real sshd on port 22 of its address and, where asked for, its engine. */
export async function startClient(options: ClientOptions): Promise<SiteClient> {
  const { folder, name, netns, address, authorizedKey } = options;
  await mkdir(folder, { recursive: true });
  const hosts = ["127.0.0.1 localhost", "::1 localhost", ...options.hosts, ""].join("\n");
  await writeFile(join(folder, "hosts"), hosts);
  const sshd = await startSshd({
    folder,
    address,
    port: 22,
    netns,
    authorizedKey,
    run: [...ownContainers, ...(options.engine === "docker" ? [] : without("docker", "dockerd"))],
  });
  const home = join(folder, "home");
  await mkdir(home, { recursive: true });
  const access = inside(sshd.pid, home);
  let engine: TestEngine | undefined;
  try {
    if (options.engine === "docker") {
      // The network namespace is the site's, whose engine has the bridge and the rules.
      const args = ["--bridge=none", "--iptables=false"];
      engine = await startEngine(access, { folder, name: `${netns}-${name}`, args });
    }
  } catch (error) {
    await sshd.stop();
    throw error;
  }
  return {
    ...access,
    name,
    address,
    port: sshd.port,
    user: "root",
    keyFile: options.keyFile,
    hostKeyLine: sshd.hostKeyLine,
    etcDocker: sshd.etcDocker,
    hosts: sshd.hosts,
    stop: async () => {
      await engine?.stop();
      await sshd.stop();
    },
  };
}

/** Shell lines for a host's own mounts: these programs are not on its PATH. */
export function without(...programs: string[]): string[] {
  return [
    `for program in ${programs.join(" ")}; do`,
    "for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do",
    '  if [ -f "$folder/$program" ]; then mount --bind /dev/null "$folder/$program"; fi',
    "done; done",
  ];
}

/** Images of its own for Podman. */
const ownContainers = [
  'mkdir -p /var/lib/containers "$FOLDER/containers"',
  'mount --bind "$FOLDER/containers" /var/lib/containers',
];

/** Makes the pair of keys that opens the clients, and another that opens none. */
export async function makeKeys(folder: string): Promise<{ file: string; ours: string; another: string }> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, "id_ed25519");
  return { file, ours: await makeKey(file), another: await makeKey(join(folder, "another")) };
}

/** Writes an INI inventory as Ansible reads it. @param options.repoHost becomes every client's `repo_host` */
export async function writeInventory(
  clients: Pick<SiteClient, "name" | "address" | "port" | "user" | "keyFile">[],
  file: string,
  options: { repoHost?: string } = {},
): Promise<void> {
  const lines = clients.map(({ name, address, port, user, keyFile }) =>
    [
      name,
      `ansible_host=${address}`,
      `ansible_port=${port}`,
      `ansible_user=${user}`,
      `ansible_ssh_private_key_file=${keyFile}`,
    ].join(" "),
  );
  const variables =
    options.repoHost === undefined ? [] : ["", "[clients:vars]", `repo_host=${options.repoHost}`];
  await writeFile(file, ["[clients]", ...lines, ...variables, ""].join("\n"));
}

/** Writes what `ssh-keyscan` would, from what the clients themselves say. */
export async function writeKnownHosts(
  clients: Pick<SiteClient, "hostKeyLine">[],
  file: string,
): Promise<void> {
  await writeFile(file, clients.map((client) => `${client.hostKeyLine}\n`).join(""));
}
