/** The demo's world: both sides of the gap on this machine, and the stick that is carried between them. */
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Inside, loginEnvironment } from "../lab/host.ts";
import { makeSeed, type Seed } from "../lab/seed.ts";
import { type Site, startSite } from "../lab/site.ts";
import { startUpstream, type Upstream } from "../lab/upstream.ts";
import type { Place } from "./stage.ts";

export const registryName = "registry.site.lan";
export const registryAddress = "198.18.18.10";

export interface World {
  upstream: Upstream;
  seed: Seed;
  connected: Place;
  /** Is ready some seconds later than the connected side. */
  isolated: Promise<Isolated>;
}

export interface Isolated {
  site: Place;
  client: Place;
}

/** @param parts takes what must be undone */
export async function startWorld(folder: string, parts: AsyncDisposableStack): Promise<World> {
  const root = join(import.meta.dirname, "../..");
  const programs = join(folder, "bin");
  const stick = join(folder, "stick");
  const home = join(folder, "connected");
  for (const each of [programs, stick, home]) await mkdir(each);
  await symlink(stick, join(home, "stick"));
  const launcher = `#!/bin/sh\nexec '${process.execPath}' '${join(root, "bin/drydock.js")}' "$@"\n`;
  await writeFile(join(programs, "drydock"), launcher, { mode: 0o755 });

  const starting = startSite({ folder: join(folder, "site"), name: "demo" });
  parts.defer(async () => (await starting.catch(() => undefined))?.stop());
  const isolated = furnish(starting, programs, stick);
  // It is looked at later; until then nobody waits for its failure.
  isolated.catch(() => {});

  const upstream = await startUpstream(join(folder, "upstream"));
  parts.defer(upstream.stop);
  const seed = await makeSeed(join(home, "registry-2017.tar.gz"));
  const env = withPrograms({ ...loginEnvironment(), HOME: home }, programs);
  return { upstream, seed, isolated, connected: { prompt: "connected$", folder: home, env } };
}

async function furnish(starting: Promise<Site>, programs: string, stick: string): Promise<Isolated> {
  const site = await starting;
  const home = site.env.HOME ?? "";
  await symlink(stick, join(home, "stick"));
  await writeSshFiles(site, home);
  return {
    site: place("site#", site, home, programs),
    client: place("client#", site.client("with-docker"), "/", programs),
  };
}

/** The inventory, the key that opens the clients, and the host keys that were seen when they were set up. */
async function writeSshFiles(site: Site, home: string): Promise<void> {
  // SSH's files are in the home that the passwd file names, as ssh has it.
  const passwd = join(site.etc, "passwd");
  const users = await readFile(passwd, "utf8");
  await writeFile(passwd, users.replace(/^(root:(?:[^:]*:){4})[^:]*/m, `$1${home}`));
  const ssh = join(home, ".ssh");
  await mkdir(ssh, { mode: 0o700 });
  const key = site.clients[0]?.keyFile ?? "";
  await copyFile(key, join(ssh, "key"));
  await chmod(join(ssh, "key"), 0o600);
  await copyFile(site.knownHosts, join(ssh, "known_hosts"));
  const hosts = site.clients.map(
    ({ name, address }) => `${name} ansible_host=${address} ansible_ssh_private_key_file=~/.ssh/key`,
  );
  await writeFile(join(home, "hosts.ini"), ["[clients]", ...hosts, ""].join("\n"));
}

function place(prompt: string, { enter, env }: Inside, folder: string, programs: string): Place {
  return { prompt, folder, enter, env: withPrograms(env, programs) };
}

function withPrograms(env: NodeJS.ProcessEnv, programs: string): NodeJS.ProcessEnv {
  return { ...env, PATH: `${programs}:${env.PATH}` };
}
