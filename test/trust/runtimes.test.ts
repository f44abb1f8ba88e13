/** Real runtimes that pull from a real registry, before and after: Docker, containerd and its CRI, Podman, skopeo. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ClientResult } from "../../src/trust/client.ts";
import type { TrustOptions } from "../../src/trust/trust.ts";
import { makeKeys, startClient } from "../lab/clients.ts";
import { criPull, withContainerd } from "../lab/containerd.ts";
import { type Inside, inside } from "../lab/host.ts";
import { pushImage } from "../lab/images.ts";
import { makeNetns } from "../lab/netns.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { startSshd } from "../lab/sshd.ts";
import { type TrustIn, trustIn } from "./in-netns.ts";
import { makeCertificates } from "./tls-server.ts";

const name = "registry.plant7.lan";
const address = "198.18.21.10";
const clientAddresses = { docker: "198.18.21.21", podman: "198.18.21.22", containerd: "198.18.21.23" };
type ClientName = keyof typeof clientAddresses;
const parts = new AsyncDisposableStack();
const hosts = {} as Record<ClientName, Inside>;
let folder: string;
let netns: string;
let keys: { file: string; ours: string };
let registry: TestRegistry;
let authorities: Record<"one" | "two", string>;
let work: TrustIn;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-runtimes-"));
  parts.defer(() => rm(folder, { recursive: true, force: true }));
  const space = await makeNetns("runtimes", [address, ...Object.values(clientAddresses)]);
  parts.defer(space.delete);
  netns = space.name;
  const names = `DNS:${name},IP:${address}`;
  const [one, two] = [
    await makeCertificates(folder, "one", names),
    await makeCertificates(folder, "two", names),
  ];
  authorities = { one: one.ca, two: two.ca };
  const open = await startRegistry({ folder, storage: join(folder, "storage") });
  await pushImage(open.host, "library/hello", "1", await makeBusyboxImage({ says: "hello" }));
  await open.stop();
  await serveWith("one");
  parts.defer(() => registry.stop());
  keys = await makeKeys(join(folder, "keys"));
  hosts.docker = await startOne("docker");
  hosts.podman = await startOne("podman");
  hosts.containerd = await startContainerd();
  work = await trustIn(netns, folder);
});
after(() => parts.disposeAsync());

/** The registry, with a certificate by one of the CAs. */
async function serveWith(authority: "one" | "two"): Promise<void> {
  await registry?.stop();
  const tls = { certificate: join(folder, `${authority}-pem`), key: join(folder, `${authority}-key`) };
  registry = await startRegistry({
    folder,
    storage: join(folder, "storage"),
    tls,
    netns,
    address,
    port: 443,
  });
}

const resolving = [`${address} ${name}`];

async function startOne(engine: "docker" | "podman"): Promise<Inside> {
  const client = await startClient({
    ...{ folder: join(folder, engine), name: engine, netns, address: clientAddresses[engine], engine },
    ...{ hosts: resolving, keyFile: keys.file, authorizedKey: keys.ours },
  });
  parts.defer(client.stop);
  await writeFile(join(folder, "known_hosts"), `${client.hostKeyLine}\n`, { flag: "a" });
  return client;
}

async function startContainerd(): Promise<Inside> {
  const own = join(folder, "containerd");
  await mkdir(own);
  await writeFile(join(own, "hosts"), ["127.0.0.1 localhost", ...resolving, ""].join("\n"));
  const hidden = ["docker", "dockerd", "podman", "skopeo"].map((program) => `/usr/*bin/${program}`).join(" ");
  const sshd = await startSshd({
    ...{ folder: own, netns, address: clientAddresses.containerd, port: 22, authorizedKey: keys.ours },
    run: [...withContainerd, `for f in ${hidden}; do if [ -f $f ]; then mount --bind /dev/null $f; fi; done`],
  });
  parts.defer(sshd.stop);
  await writeFile(join(folder, "known_hosts"), `${sshd.hostKeyLine}\n`, { flag: "a" });
  const host = inside(sshd.pid, own);
  await host.run("/etc/init.d/containerd", ["start"], { cwd: "/" });
  return host;
}

async function trust(
  client: ClientName,
  changes: Partial<TrustOptions> = {},
  verb?: "removeTrust",
): Promise<ClientResult> {
  const options = {
    ...{ ca: authorities.one, addresses: [name, address], port: 443, acceptNewHostKeys: false, agent: "" },
    ...{ knownHostsFile: join(folder, "known_hosts"), timeoutMs: 60_000, prove: "tls" as const },
    ...changes,
  };
  const at = { name: client, host: clientAddresses[client], user: "root", keyFile: keys.file, where: "c:1" };
  const result = (await work([at], options, verb))[client];
  assert.ok(result !== undefined);
  return result;
}

/** "pulled", or what was said. */
async function pull(client: ClientName, image: string): Promise<string> {
  if (client === "containerd")
    return await criPull(join(folder, "containerd/run/containerd/containerd.sock"), image);
  const command = client === "docker" ? ["docker", "pull"] : ["skopeo", "inspect", "--no-tags"];
  const [program = "", ...args] = [...command, client === "docker" ? image : `docker://${image}`];
  const { code, stderr } = await hosts[client].run(program, args, { mayFail: true, cwd: "/" });
  return code === 0 ? "pulled" : stderr;
}

const images = [name, `${name}:443`, address, `${address}:443`].map((host) => `${host}/library/hello:1`);
const unknown = /x509: certificate signed by unknown authority/;

/** Every file of the runtimes with its content, and every directory. */
async function etc(client: ClientName): Promise<string> {
  const script =
    "cd /etc && find docker containers containerd -type f -exec sha256sum {} + -o -printf '%p %y %m\\n' | sort";
  return (await hosts[client].run("/bin/sh", ["-c", script], { cwd: "/" })).stdout;
}

for (const client of ["docker", "podman", "containerd"] as const) {
  describe(client, () => {
    let before: string;

    it("pulls by every name of the registry, after the CA came and not before", async () => {
      before = await etc(client);
      assert.match(await pull(client, images[0] ?? ""), unknown);
      const result = await trust(client, { restartRuntimes: true });
      assert.deepEqual([result.status, result.proven, result.reason], ["changed", true, undefined]);
      for (const image of images) assert.equal(await pull(client, image), "pulled", image);
      assert.equal((await trust(client, { restartRuntimes: true })).status, "ok");
    });

    it("takes an old and a new CA until the old one is removed", async () => {
      const { two: ca } = authorities;
      await serveWith("two");
      assert.match(await pull(client, images[0] ?? ""), unknown);
      assert.equal((await trust(client, { ca })).status, "changed");
      for (const image of images) assert.equal(await pull(client, image), "pulled", image);
      await serveWith("one");
      assert.equal(await pull(client, images[0] ?? ""), "pulled");
      const last = await trust(client, { ca, removeOld: true });
      assert.match(last.reason ?? "", /not signed by this CA/);
      assert.match(await pull(client, images[0] ?? ""), unknown);
      // Back to the first one: an older CA is a new one again.
      assert.equal((await trust(client, { removeOld: true })).status, "changed");
      assert.equal(await pull(client, images[0] ?? ""), "pulled");
    });

    it("finds upstreams' images in the registry, as far as it can", async () => {
      const mirrors = ["quay.io", "docker.io"];
      const upstreams = client === "docker" ? ["docker.io"] : mirrors;
      const of = (host: string) => `${host}/library/hello:1`;
      for (const host of upstreams) assert.notEqual(await pull(client, of(host)), "pulled");
      const first = await trust(client, { mirrors });
      if (client === "docker") {
        assert.match(first.reason ?? "", /Docker does not look for docker\.io's images in the registry/);
        assert.notEqual(await pull(client, of("docker.io")), "pulled");
      }
      const second = await trust(client, { mirrors, restartRuntimes: true });
      assert.equal(second.reason, undefined);
      for (const host of upstreams) assert.equal(await pull(client, of(host)), "pulled", host);
      assert.equal((await trust(client, { mirrors, restartRuntimes: true })).status, "ok");
      assert.equal((await trust(client)).status, "ok", "mirrors stay until --remove");
    });

    it("is as before when all is taken away", async () => {
      const removed = await trust(client, { restartRuntimes: true }, "removeTrust");
      assert.deepEqual([removed.status, removed.reason], ["changed", undefined]);
      assert.equal(await etc(client), before);
      assert.match(await pull(client, images[0] ?? ""), unknown);
      assert.notEqual(await pull(client, "docker.io/library/hello:1"), "pulled");
      assert.equal((await trust(client, {}, "removeTrust")).status, "ok");
    });
  });
}
