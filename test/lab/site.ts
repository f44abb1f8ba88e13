/**
 * The isolated side: a network namespace with no route out, in it the site's host with its Docker engine,
 * and three clients. Several may stand side by side: they share nothing but this machine's programs.
 */
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { atEnd } from "./at-end.ts";
import { makeKeys, type SiteClient, startClient, writeInventory, writeKnownHosts } from "./clients.ts";
import { startEngine } from "./engine.ts";
import { type Inside, startHost } from "./host.ts";
import { makeNetns } from "./netns.ts";
import { run } from "./process.ts";

export interface SiteOptions {
  /** Everything goes in here. It is the caller's to remove, after stop(). */
  folder: string;
  /** becomes part of the network namespace's name; "site" if left out */
  name?: string;
  /** of the site's host; ["198.18.18.10"] if left out */
  addresses?: string[];
  /** what the clients' /etc/hosts call the first address; "registry.site.lan" if left out */
  registryName?: string;
  /** false: only the site's host and engine */
  clients?: boolean;
}

/** `run` and `enter` run things on the site's host. */
export interface Site extends Inside {
  folder: string;
  /** the network namespace's name below /run/netns */
  netns: string;
  addresses: string[];
  registryName: string;
  /** of the host's first process: /proc/PID/root is what the host sees, with all that is mounted there */
  pid: number;
  /** /srv/docker-registry of the site's host, by a path that is right outside and inside */
  siteDir: string;
  /** its /etc, as seen from outside: etc/docker, etc/drydock, etc/hosts */
  etc: string;
  /** the engine's socket as seen from outside; inside, /run/docker.sock is where Docker looks by itself */
  dockerSocket: string;
  /** none if `clients: false` was asked for */
  clients: SiteClient[];
  /** a client by its name: "with-docker", "with-podman" or "refuses" */
  client(name: ClientName): SiteClient;
  /** an INI inventory of all clients, and the known_hosts that has all their keys */
  inventory: string;
  knownHosts: string;
  /** Ends everything, and takes mounts, control groups and the network namespace away. */
  stop(): Promise<void>;
}

/** They differ in what they have: a Docker engine; Podman and skopeo alone; an sshd that does not know our key. */
export type ClientName = "with-docker" | "with-podman" | "refuses";

interface ClientPlan {
  name: ClientName;
  address: string;
  engine: "docker" | "podman" | "none";
}

const clientPlan: ClientPlan[] = [
  { name: "with-docker", address: "198.18.18.21", engine: "docker" },
  { name: "with-podman", address: "198.18.18.22", engine: "podman" },
  { name: "refuses", address: "198.18.18.23", engine: "none" },
];

/** Starts it all; engines and clients answer when this returns. Needs root. */
export async function startSite(options: SiteOptions): Promise<Site> {
  const folder = resolve(options.folder);
  const addresses = options.addresses ?? ["198.18.18.10"];
  const registryName = options.registryName ?? "registry.site.lan";
  const plan = options.clients === false ? [] : clientPlan;
  const parts = new AsyncDisposableStack();
  const forget = atEnd(() => parts.disposeAsync());
  const stop = async () => {
    forget();
    await parts.disposeAsync();
  };
  try {
    const all = [...addresses, ...plan.map(({ address }) => address)];
    const netns = await makeNetns(options.name ?? "site", all);
    parts.defer(netns.delete);
    const hostFolder = join(folder, "host");
    await mkdir(hostFolder, { recursive: true });
    const host = await startHost({ folder: hostFolder, netns: netns.name, hosts: [] });
    parts.defer(host.stop);

    const keys = await makeKeys(join(folder, "keys"));
    const hosts = [`${addresses[0]} ${registryName}`];
    const startOne = ({ name, address, engine }: ClientPlan) =>
      startClient({
        ...{ folder: join(folder, name), name, netns: netns.name, address, hosts, engine },
        keyFile: keys.file,
        authorizedKey: name === "refuses" ? keys.another : keys.ours,
      });
    const engine = startEngine(host, {
      ...{ folder: hostFolder, name: netns.name },
      args: [`--bridge=${await addBridge(netns.name)}`],
    });
    const [{ socket }, ...clients] = await together(parts, [engine, ...plan.map(startOne)]);

    const inventory = join(folder, "clients.ini");
    const knownHosts = join(folder, "known_hosts");
    await writeInventory(clients, inventory);
    await writeKnownHosts(clients, knownHosts);
    return {
      ...{ env: host.env, enter: host.enter, run: host.run, pid: host.pid },
      ...{ folder, netns: netns.name, addresses, registryName, clients, inventory, knownHosts, stop },
      siteDir: join(hostFolder, "srv/docker-registry"),
      etc: join(hostFolder, "etc"),
      dockerSocket: socket,
      client: (name) => {
        const client = clients.find((each) => each.name === name);
        if (client === undefined) throw new Error(`the site was started without its client "${name}"`);
        return client;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * A bridge for the site's containers that is not called docker0: an engine with `--bridge=none`, as the
 * client's, deletes that one when it starts, and the network namespace is the same.
 */
async function addBridge(netns: string): Promise<string> {
  const bridge = "site0";
  const commands = [
    `link add ${bridge} type bridge`,
    `address add 172.17.0.1/16 dev ${bridge}`,
    `link set ${bridge} up`,
  ];
  await run("ip", ["-netns", netns, "-batch", "-"], { input: `${commands.join("\n")}\n` });
  return bridge;
}

/** Waits for all that start side by side, and stops those that did when one did not. */
async function together<T extends { stop(): Promise<void> }[]>(
  parts: AsyncDisposableStack,
  starting: readonly [...{ [K in keyof T]: Promise<T[K]> }],
): Promise<T> {
  const settled = await Promise.allSettled(starting);
  const started = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  parts.defer(async () => {
    await Promise.all(started.map((one) => one.stop()));
  });
  for (const one of settled) if (one.status === "rejected") throw one.reason;
  return started as unknown as T;
}
