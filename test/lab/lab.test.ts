/** The lab itself: its parts answer, and the site is as isolated as the tests take it to be. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pidInside } from "./host.ts";
import { pushImage } from "./images.ts";
import { run } from "./process.ts";
import { makeBusyboxImage } from "./real-images.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";
import { makeSeed } from "./seed.ts";
import { type Site, startSite } from "./site.ts";
import { startUpstream, type Upstream } from "./upstream.ts";

describe("the upstream registries", () => {
  let folder: string;
  let upstream: Upstream;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "drydock-lab-upstream-"));
    upstream = await startUpstream(folder);
  });
  after(async () => {
    await upstream?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("give each image with the digest it was made with, to skopeo too", async () => {
    for (const [name, image] of Object.entries(upstream.images)) {
      const args = ["inspect", "--raw", "--tls-verify=false", `docker://${upstream.host}/${name}`];
      assert.equal((await run("skopeo", args)).stdout, image.manifest.toString("utf8"), name);
    }
  });

  it("want an account where they are closed", async () => {
    const { host, account } = upstream.closed;
    const ask = (password: string) =>
      fetch(`http://${host}/v2/secret/app/manifests/1`, {
        headers: { authorization: `Basic ${Buffer.from(`${account.user}:${password}`).toString("base64")}` },
      });
    assert.equal((await fetch(`http://${host}/v2/`)).status, 401);
    assert.equal((await ask("wrong")).status, 401);
    assert.equal((await ask(account.password)).status, 200);
  });

  it("make a seed that is a registry's storage directory", async () => {
    const seed = await makeSeed(join(folder, "seed.tar.gz"));
    const listing = (await run("tar", ["-tzf", seed.file])).stdout;
    assert.match(
      listing,
      /^storage\/docker\/registry\/v2\/repositories\/legacy\/app\/_manifests\/tags\/2017\//m,
    );
    assert.equal((await run("sha256sum", [seed.file])).stdout.split(" ")[0], seed.sha256);
  });
});

describe("the site", () => {
  let folder: string;
  let site: Site;
  let registry: TestRegistry;
  const says = "hello from the lab's own test";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "drydock-lab-site-"));
    site = await startSite({ folder, name: "lab-test" });
    const storage = join(folder, "storage");
    await fillStorage(folder, storage, says);
    const tls = await makeCertificate(folder, site);
    registry = await startRegistry({
      ...{ folder, storage, tls, netns: site.netns, port: 443 },
      address: site.addresses[0] ?? "",
    });
  });
  after(async () => {
    await registry?.stop();
    await site?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("has no route out", async () => {
    const routes = (await site.run("ip", ["route", "show", "default"])).stdout;
    assert.equal(routes, "");
    const outside = createConnection("198.51.100.1");
    const result = await site.run(process.execPath, ["-e", outside], { mayFail: true });
    assert.match(result.stdout, /ENETUNREACH/);
  });

  it("does not see this machine's /etc/docker and /run, nor this machine the site's", async () => {
    await site.run("/bin/sh", [
      "-c",
      "mkdir -p /etc/drydock /etc/docker && touch /etc/docker/of-the-site /run/of-the-site",
    ]);
    assert.ok((await readdir(join(site.etc, "docker"))).includes("of-the-site"));
    assert.ok(!(await readdir("/etc/docker").catch((): string[] => [])).includes("of-the-site"));
    assert.ok(!(await readdir("/run")).includes("of-the-site"));
  });

  it("passes on how a command ended, and ends it when its caller is killed", async () => {
    assert.equal((await site.run("/bin/sh", ["-c", "exit 7"], { mayFail: true })).code, 7);
    const [program, args] = site.enter("sleep", ["1000"]);
    for (const how of ["command", "caller"] as const) {
      const caller = spawn(program, args, { env: site.env, stdio: "ignore" });
      const command = await pidInside(caller.pid);
      // Before that it is not yet bound to its caller.
      while ((await readFile(`/proc/${command}/comm`, "utf8")) !== "sleep\n") await sleep(20);
      const ended = once(caller, "exit");
      if (how === "command") process.kill(command, "SIGINT");
      else caller.kill("SIGKILL");
      assert.equal((await ended)[1], how === "command" ? "SIGINT" : "SIGKILL");
      while (existsSync(`/proc/${command}`)) await sleep(20);
    }
  });

  it("pulls and runs with its engine, and maps a port to its address", async () => {
    const image = `${site.addresses[0]}/lab/hello:1`;
    const certs = join(site.etc, "docker/certs.d", site.addresses[0] ?? "");
    await mkdir(certs, { recursive: true });
    await writeFile(join(certs, "ca.crt"), await readFile(join(folder, "registry.pem")));
    await site.run("docker", ["pull", "--quiet", image]);
    assert.equal((await site.run("docker", ["run", "--rm", image])).stdout.trim(), says);

    const serve = ["busybox", "nc", "-l", "-p", "80", "-e", "echo", "mapped"];
    await site.run("docker", ["run", "--detach", "--publish=8080:80", image, ...serve]);
    assert.equal(await readPort(site, 8080), "mapped");
  });

  it("has a Docker client that trusts only what it was given", async () => {
    const client = site.client("with-docker");
    const image = `${site.registryName}/lab/hello:1`;
    const refused = await client.run("docker", ["pull", image], { mayFail: true });
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /x509: certificate signed by unknown authority/);

    const certs = join(client.etcDocker, "certs.d", site.registryName);
    await mkdir(certs, { recursive: true });
    await writeFile(join(certs, "ca.crt"), await readFile(join(folder, "registry.pem")));
    assert.equal((await client.run("docker", ["run", "--rm", "--network=none", image])).stdout.trim(), says);
  });

  it("has a client with Podman and skopeo, and no Docker", async () => {
    const client = site.client("with-podman");
    assert.equal(
      (await client.run("/bin/sh", ["-c", "command -v docker dockerd"], { mayFail: true })).stdout,
      "",
    );
    const image = `${site.registryName}/lab/hello:1`;
    const refused = await client.run("skopeo", ["inspect", `docker://${image}`], { mayFail: true });
    assert.match(refused.stderr, /x509: certificate signed by unknown authority/);
    const certs = join(client.etcDocker, "certs.d", site.registryName);
    await mkdir(certs, { recursive: true });
    await writeFile(join(certs, "ca.crt"), await readFile(join(folder, "registry.pem")));
    await client.run("podman", ["pull", "--quiet", image]);
  });

  it("lets us into its clients over SSH, except the one that refuses us", async () => {
    for (const client of site.clients) {
      const options = ["-F", "none", "-i", client.keyFile, "-o", "BatchMode=yes"];
      const known = ["-o", `UserKnownHostsFile=${site.knownHosts}`, "-o", "StrictHostKeyChecking=yes"];
      const target = `${client.user}@${client.address}`;
      const result = await site.run("ssh", [...options, ...known, target, "cat /etc/hosts"], {
        mayFail: true,
      });
      if (client.name === "refuses") {
        assert.match(result.stderr, /Permission denied \(publickey\)/);
      } else {
        assert.match(result.stdout, /198\.18\.18\.10 registry\.site\.lan/, client.name);
      }
    }
  });

  it("stands beside a second one, and leaves nothing behind", async () => {
    const second = await startSite({ folder: join(folder, "second"), clients: false });
    assert.notEqual(second.netns, site.netns);
    await second.stop();
    assert.ok(!(await readdir("/run/netns")).includes(second.netns));
    assert.ok(!(await readFile("/proc/self/mountinfo", "utf8")).includes(join(folder, "second")));
    assert.match((await connectTo(second.dockerSocket)) ?? "", /ENOENT|ECONNREFUSED/);
  });
});

/** Pushed over plain http on loopback; served over TLS in the site. */
async function fillStorage(folder: string, storage: string, says: string): Promise<void> {
  const registry = await startRegistry({ folder, storage });
  try {
    await pushImage(registry.host, "lab/hello", "1", await makeBusyboxImage({ says }));
  } finally {
    await registry.stop();
  }
}

async function makeCertificate(folder: string, site: Site): Promise<{ certificate: string; key: string }> {
  const certificate = join(folder, "registry.pem");
  const key = join(folder, "registry-key.pem");
  const names = `subjectAltName=DNS:${site.registryName},IP:${site.addresses[0]}`;
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab"];
  await run("openssl", [...request, "-addext", names, "-keyout", key, "-out", certificate]);
  return { certificate, key };
}

function createConnection(address: string): string {
  return `require("net").connect(80, "${address}").on("error", (error) => console.log(error.code))`;
}

/** @returns the error's code; undefined if somebody answers */
async function connectTo(socket: string): Promise<string | undefined> {
  const connection = connect(socket);
  try {
    await once(connection, "connect");
    return undefined;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  } finally {
    connection.destroy();
  }
}

/** What a port of the site says, as soon as something behind it listens. */
async function readPort(site: Site, port: number): Promise<string> {
  const script = `require("net").connect(${port}, "${site.addresses[0]}").on("error", () => {}).pipe(process.stdout)`;
  for (let attempt = 1; attempt <= 20; attempt += 1) {
    const { stdout } = await site.run(process.execPath, ["-e", script]);
    if (stdout !== "") return stdout.trim();
    await sleep(250);
  }
  return "";
}
