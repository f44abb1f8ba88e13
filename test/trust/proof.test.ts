/** The proof from clients that have a real Docker engine, Podman, other tools or none, and sshds that forbid much. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ServedImage } from "../../src/site/served-images.ts";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import type { TrustOptions } from "../../src/trust/trust.ts";
import { makeKeys, type SiteClient, startClient } from "../lab/clients.ts";
import { pushImage, type TestImage } from "../lab/images.ts";
import { makeNetns, type Netns } from "../lab/netns.ts";
import { makeBusyboxImage, makeTwoPlatforms } from "../lab/real-images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { type SshdOptions, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";
import { type TrustIn, trustIn } from "./in-netns.ts";
import { type Certificates, makeCertificates } from "./tls-server.ts";

const name = "registry.site.lan";
const loopName = "loop.site.lan";
const [registryAddress, insecureAddress] = ["198.18.20.10", "198.18.20.11"];
const parts = new AsyncDisposableStack();
let folder: string;
let netns: Netns;
let certificates: Certificates;
let registry: TestRegistry;
let keys: { file: string; ours: string };
let docker: SiteClient;
let images: ServedImage[];
let ask: TrustIn;
let knownHosts = "";
let count = 0;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-proof-"));
  parts.defer(() => rm(folder, { recursive: true, force: true }));
  const clientAddresses = Array.from({ length: 20 }, (_, at) => `198.18.20.${20 + at}`);
  netns = await makeNetns("proof", [registryAddress, insecureAddress, ...clientAddresses]);
  parts.defer(netns.delete);
  const names = `DNS:${name},DNS:${loopName},IP:${registryAddress},IP:${insecureAddress}`;
  certificates = await makeCertificates(folder, "good", names);
  await startTheRegistry();
  keys = await makeKeys(join(folder, "keys"));
  docker = await startDocker();
  ask = await trustIn(netns.name, folder);
});
after(() => parts.disposeAsync());

/** Two images; the larger one has two platforms. */
async function startTheRegistry(): Promise<void> {
  const storage = join(folder, "storage");
  const [small, large] = [await makeBusyboxImage({ says: "small" }), await makeTwoPlatforms()];
  const open = await startRegistry({ folder, storage });
  await pushImage(open.host, "lab/small", "1", small);
  await pushImage(open.host, "lab/large", "1", large);
  await open.stop();
  images = [served("lab/large", large, 1000), served("lab/small", small, 10)];
  const tls = { certificate: join(folder, "good-pem"), key: join(folder, "good-key") };
  registry = await startRegistry({ folder, storage, tls, netns: netns.name, address: "0.0.0.0", port: 443 });
  parts.defer(registry.stop);
}

function served(repository: string, { digest }: TestImage, bytes: number): ServedImage {
  const platform = { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch };
  return { repository, digest, platforms: [{ platform, bytes }] };
}

const hosts = [`${registryAddress} ${name}`, `127.0.0.2 ${loopName}`];

async function startDocker(): Promise<SiteClient> {
  const own = join(folder, "docker");
  await mkdir(join(own, "etc-docker"), { recursive: true });
  const settings = { "insecure-registries": [insecureAddress] };
  await writeFile(join(own, "etc-docker/daemon.json"), JSON.stringify(settings));
  const address = nextAddress();
  const started = await startClient({
    ...{ folder: own, name: "docker", netns: netns.name, address, hosts, engine: "docker" },
    ...{ keyFile: keys.file, authorizedKey: keys.ours },
  });
  parts.defer(started.stop);
  knownHosts += `${started.hostKeyLine}\n`;
  return started;
}

function nextAddress(): string {
  count += 1;
  return `198.18.20.${19 + count}`;
}

/** Shell lines for a host whose /run has the engine's socket; its /etc/docker may be another. */
const withEngine = [
  "touch /run/docker.sock",
  "mount --bind $FOLDER/../docker/run/docker.sock /run/docker.sock",
];
const without = (...programs: string[]) => [
  `for program in ${programs.join(" ")}; do for folder in /usr/local/bin /usr/bin; do`,
  '  if [ -f "$folder/$program" ]; then mount --bind /dev/null "$folder/$program"; fi',
  "done; done",
];
const noEngines = without("docker", "podman", "skopeo");
const noForwarding = ["AllowTcpForwarding no", "AllowStreamLocalForwarding no"];
const sudoers = (line: string) => [...withUsers({ name: "ops" }), ...withSudoers(line)];

async function startHost(label: string, options: Partial<SshdOptions> = {}): Promise<Client> {
  const own = join(folder, label);
  await mkdir(own);
  await writeFile(join(own, "hosts"), ["127.0.0.1 localhost", ...hosts, ""].join("\n"));
  const sshd: TestSshd = await startSshd({
    ...{ folder: own, netns: netns.name, address: nextAddress(), port: 22, authorizedKey: keys.ours },
    ...options,
  });
  parts.defer(sshd.stop);
  knownHosts += `${sshd.hostKeyLine}\n`;
  return client(label, sshd.address);
}

function client(label: string, host: string): Client {
  return { name: label, host, user: "root", keyFile: keys.file, where: `c:${count}` };
}

async function trust(
  clients: Client[],
  changes: Partial<TrustOptions> = {},
): Promise<Record<string, ClientResult>> {
  const knownHostsFile = join(folder, "known_hosts");
  await writeFile(knownHostsFile, knownHosts);
  return await ask(clients, {
    ...{
      ca: certificates.ca,
      addresses: [name, registryAddress, insecureAddress, loopName],
      port: 443,
      images,
    },
    ...{ knownHostsFile, sshConfigFile: "none", agent: "", acceptNewHostKeys: false, timeoutMs: 60_000 },
    ...changes,
  });
}

function brief(result: ClientResult | undefined) {
  if (result?.proven === true) return [result.proof, result.provenAs];
  return result?.status === "failed" ? "failed" : "not proven";
}

const theDocker = () => client("docker", docker.address);

describe("the proof by the client's own engine", () => {
  it("is what its engine finds in the registry, with the certificates that it looks for", async () => {
    const { docker: first } = await trust([theDocker()]);
    assert.deepEqual(first, {
      name: "docker",
      status: "changed",
      proven: true,
      proof: "engine",
      provenAs: name,
    });
    const log = await readFile(registry.log, "utf8");
    assert.match(log, /"?http\.request\.useragent"?[=:]"docker\//);

    const astray = await startHost("astray", { run: withEngine });
    await rm(join(docker.etcDocker, "certs.d"), { recursive: true });
    const { astray: found } = await trust([astray]);
    assert.equal(brief(found), "failed");
    assert.match(
      found?.reason ?? "",
      /^its Docker engine does not take registry\.site\.lan: .*x509: .*unknown authority/,
    );
    assert.match(found?.hint ?? "", /looks for certificates elsewhere/);
  });

  it("without a known image is that the registry has none of a name", async () => {
    const { docker: result } = await trust([theDocker()], { images: [] });
    assert.deepEqual(brief(result), ["engine", name]);
    const { docker: closed } = await trust([theDocker()], { images: [], port: 444 });
    assert.match(closed?.reason ?? "", /^docker does not reach registry\.site\.lan:444: /);
  });

  it("is none where Docker checks no certificates: that is said, and the handshake counts", async () => {
    const [insecure, loop] = [insecureAddress, loopName].map((repoHost) => ({
      ...theDocker(),
      name: repoHost,
      repoHost,
    }));
    assert.ok(insecure !== undefined && loop !== undefined);
    const results = await trust([insecure, loop], { limit: 1 });
    assert.deepEqual(brief(results[insecureAddress]), ["tls", insecureAddress]);
    assert.match(
      results[insecureAddress]?.reason ?? "",
      /checks no certificates of 198\.18\.20\.11 \(insecure-registries\)/,
    );
    assert.match(results[insecureAddress]?.hint ?? "", /daemon\.json/);
    assert.deepEqual(brief(results[loopName]), ["tls", loopName]);
    assert.match(
      results[loopName]?.reason ?? "",
      /checks no certificates at 127\.0\.0\.2, which loop\.site\.lan is there/,
    );
  });

  it("is asked for with root's rights where the user has none at its socket, or it can't be forwarded", async () => {
    const ops = async (label: string, run: string[]) => ({
      ...(await startHost(label, { run })),
      user: "ops",
    });
    const may = sudoers("ops ALL=(root) NOPASSWD: ALL");
    const few = await ops("few", [...withEngine, ...sudoers("ops ALL=(root) NOPASSWD: /usr/bin/true")]);
    await trust([{ ...few, user: "root" }]);
    const results = await trust([
      await ops("sudo", [...withEngine, ...may]),
      await ops("no-curl", [...withEngine, ...may, ...without("curl")]),
      few,
      await startHost("stream", { run: withEngine, extraConfig: ["AllowStreamLocalForwarding no"] }),
      await startHost("nothing", { run: withEngine, extraConfig: noForwarding }),
    ]);
    for (const label of ["sudo", "stream", "nothing"])
      assert.deepEqual(brief(results[label]), ["engine", name], label);
    for (const label of ["no-curl", "few"]) assert.deepEqual(brief(results[label]), ["tls", name], label);
    assert.match(
      results["no-curl"]?.reason ?? "",
      /was not asked: "ops" can't use \/run\/docker\.sock over SSH, and there is no curl/,
    );
    assert.match(results.few?.reason ?? "", /was not asked: .*may not do so with sudo/);
    assert.match(results.few?.hint ?? "", /group docker/);
  });

  it("is not Podman's to give", async () => {
    const service = "podman system service --time=0 unix:///run/docker.sock";
    const podman = await startHost("podman-socket", {
      run: [
        "mkdir -p $FOLDER/containers; mount --bind $FOLDER/containers /var/lib/containers",
        `${service} >$FOLDER/podman.log 2>&1 &`,
        "while [ ! -S /run/docker.sock ]; do sleep 0.1; done",
      ],
    });
    for (const changes of [{}, { images: [] }]) {
      const { "podman-socket": result } = await trust([podman], changes);
      assert.deepEqual(brief(result), ["tls", name]);
      assert.equal(result?.reason, undefined);
    }
  });

  it("is not asked for where Docker's store was not to hold the CA", async () => {
    const { docker: result } = await trust([theDocker()], { stores: ["containers"] });
    assert.deepEqual(brief(result), ["tls", name]);
  });

  it("waits no longer than a step may take for an engine that hangs", async () => {
    const host = await startHost("by-curl", {
      run: withEngine,
      extraConfig: ["AllowStreamLocalForwarding no"],
    });
    const pid = Number(await readFile(join(folder, "docker/run/docker.pid"), "utf8"));
    assert.ok(pid > 1);
    await docker.run("kill", ["-STOP", String(pid)]);
    try {
      const results = await trust([theDocker(), host], { timeoutMs: 6000 });
      for (const label of ["docker", "by-curl"]) assert.deepEqual(brief(results[label]), ["tls", name]);
      assert.match(results.docker?.reason ?? "", /its Docker engine did not answer within 6 s/);
      assert.match(results["by-curl"]?.reason ?? "", /its Docker engine was not asked: .*timed out/);
    } finally {
      await docker.run("kill", ["-CONT", String(pid)]);
    }
  });
});

describe("the proof by a pull", () => {
  it("pulls the smallest image, and removes what was not there before", async () => {
    const podman = await startHost("podman", {
      run: ["mkdir -p $FOLDER/containers; mount --bind $FOLDER/containers /var/lib/containers"],
    });
    const skopeo = await startHost("skopeo", { run: without("docker", "podman") });
    const listed = async () => {
      const { stdout } = await docker.run("docker", ["images", "--all", "--digests", "--no-trunc"]);
      return stdout.split("\n").sort().join("\n");
    };
    const before = await listed();
    const results = await trust([theDocker(), podman, skopeo], { prove: "pull" });
    for (const label of ["docker", "podman", "skopeo"])
      assert.deepEqual(brief(results[label]), ["pull", name], label);
    assert.equal(await listed(), before);
    assert.match(await readFile(registry.log, "utf8"), /\/v2\/lab\/small\/blobs\/sha256/);
    assert.doesNotMatch(await readFile(registry.log, "utf8"), /\/v2\/lab\/large\/blobs\/sha256/);

    // The same image under a tag, under another name alone, and under none.
    for (const change of [
      ["pull", "--quiet", `${name}/lab/small:1`],
      ["tag", `${name}/lab/small:1`, "mine:1"],
      ["rmi", `${name}/lab/small:1`],
    ]) {
      await docker.run("docker", change);
      const there = await listed();
      assert.match(there, /mine|lab\/small/);
      assert.deepEqual(brief((await trust([theDocker()], { prove: "pull" })).docker), ["pull", name]);
      assert.equal(await listed(), there);
    }
    await docker.run("docker", ["rmi", "mine:1"]);
  });

  it("says why it is none, and what a runtime said that could not", async () => {
    const bare = await startHost("bare", { run: noEngines });
    const idle = await startHost("idle", { run: without("podman", "skopeo") });
    const refused = await startHost("refused", { run: withEngine });
    await rm(join(docker.etcDocker, "certs.d"), { recursive: true });
    const first = await trust([refused], { prove: "pull" });
    assert.equal(brief(first.refused), "failed");
    assert.match(
      first.refused?.reason ?? "",
      /^docker pull registry\.site\.lan\/lab\/small@sha256:\S+ did not work there: .*x509/,
    );
    const results = await trust([bare, idle], { prove: "pull" });
    assert.deepEqual(brief(results.bare), ["tls", name]);
    assert.match(results.bare?.reason ?? "", /nothing was pulled: there is no docker, podman or skopeo/);
    assert.match(results.idle?.reason ?? "", /nothing was pulled: docker there says: Cannot connect/);
    const { docker: none } = await trust([theDocker()], { prove: "pull", images: [] });
    assert.deepEqual(brief(none), ["tls", name]);
    assert.match(none?.reason ?? "", /not known which images the registry has/);
    const foreign = images.map((image) => ({
      ...image,
      platforms: [{ platform: { os: "linux", architecture: "s390x" }, bytes: 1 }],
    }));
    const { docker: other } = await trust([theDocker()], { prove: "pull", images: foreign });
    assert.match(other?.reason ?? "", /the registry has no image for /);
  });
});

describe("the proof where sshd forwards nothing", () => {
  it("is made by curl or openssl there, which find what is wrong, too", async () => {
    const start = (label: string, run: string[]) =>
      startHost(label, { run: [...noEngines, ...run], extraConfig: noForwarding });
    const all = [
      await start("curl", []),
      await start("openssl", without("curl")),
      await start("neither", without("curl", "openssl")),
    ];
    const results = await trust(all);
    for (const label of ["curl", "openssl"]) assert.deepEqual(brief(results[label]), ["tls", name], label);
    assert.equal(brief(results.neither), "not proven");
    assert.match(
      results.neither?.reason ?? "",
      /^not proven: its sshd forwards no streams \(.*\); it has neither curl nor openssl; nothing was pulled: there is no docker/,
    );

    const other = await makeCertificates(folder, "other", `DNS:${name}`);
    for (const [changes, wanted] of [
      [
        { ca: other.ca },
        /^x509: (curl|openssl) there does not take the certificate at registry\.site\.lan:443: /,
      ],
      [{ addresses: ["elsewhere.site.lan"] }, /does not resolve elsewhere\.site\.lan$/],
      [{ port: 444 }, /does not reach registry\.site\.lan:444: .*; .*does not reach 198\.18\.20\.10:444/],
    ] as const) {
      const failed = await trust(all.slice(0, 2), changes);
      for (const label of ["curl", "openssl"]) {
        assert.equal(failed[label]?.status, "failed");
        assert.match(failed[label]?.reason ?? "", wanted, label);
      }
    }
  });

  it("is a pull where there is nothing else", async () => {
    const run = [...withEngine, ...without("curl", "openssl", "podman", "skopeo")];
    const host = await startHost("pulls", { run, extraConfig: noForwarding });
    assert.deepEqual(brief((await trust([host])).pulls), ["pull", name]);
  });
});

it("a clock before the certificate's begin is named, and what to do", async () => {
  const faketime = `/usr/lib/${process.arch === "x64" ? "x86_64" : "aarch64"}-linux-gnu/faketime/libfaketime.so.1`;
  const early = [`SetEnv LD_PRELOAD=${faketime} "FAKETIME=2001-02-03 04:05:00"`];
  const results = await trust([
    await startHost("early", { run: noEngines, extraConfig: early }),
    await startHost("early-curl", { run: noEngines, extraConfig: [...early, ...noForwarding] }),
  ]);
  assert.equal(results.early?.status, "failed");
  assert.match(
    results.early?.reason ?? "",
    /^its clock says 2001-02-03 04:05 UTC, and the registry's certificate begins on 20\d\d-/,
  );
  assert.match(results.early?.hint ?? "", /Set the clock there/);
  assert.match(results["early-curl"]?.reason ?? "", /^x509: curl there does not take .*not yet valid/);
});

it("nothing is proven where nothing is asked for", async () => {
  const { docker: result } = await trust([theDocker()], { prove: "none" });
  assert.deepEqual(result, { name: "docker", status: "ok", proven: false });
});
