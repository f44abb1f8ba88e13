/**
 * A registry that was set up by hand, step by step as people do, is taken over by the built command and given
 * back; a client that trusts it pulls all the while, and is told nothing.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeDocumentedCertificates, runDocumented } from "../lab/documented.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { run } from "../lab/process.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { type Site, startSite } from "../lab/site.ts";
import { pushNamed } from "../lab/upstream.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { built, drydock, drydockWords } from "./drydock.ts";
import { servedDigest, trustFolder } from "./site-state.ts";

describe("a registry that was set up by hand", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  const root = "/srv/docker-registry";
  let connected: Connected;
  let site: Site;
  let bundle: BuiltBundle;
  let certs: string;
  let container: string;
  const digests = { old: "", new: "" };

  before(async () => {
    const folder = await makeFolder("adopt");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "adopt" });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    const { host, images } = connected.upstream;
    digests.old = images["library/busybox:1.36"].digest;
    await setUpByHand(folder.path);
    const newer = await makeBusyboxImage({ says: "hello from the bundle" });
    await pushNamed(host, "library/busybox:1.36", newer);
    digests.new = newer.digest;
    bundle = await connected.bundle("plant-13", {
      ...{ name: "plant-13", release: 1, addresses: [site.registryName, ...site.addresses] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      images: [`${host}/library/busybox:1.36`, `${host}/team/artifact:1`],
    });
    await built();
  });
  after(() => parts.disposeAsync());

  /** As the documented procedure: cfssl, docker save and load, docker run, ca.pem on the client; then a push. */
  async function setUpByHand(folder: string): Promise<void> {
    const { host } = connected.upstream;
    const hosts = [site.registryName, ...site.addresses];
    await makeDocumentedCertificates(site.run, { root: site.siteDir, hosts });
    const saved = join(folder, "registry.tar");
    const plain = ["copy", "--quiet", "--src-tls-verify=false"];
    await run("skopeo", [
      ...plain,
      `docker://${host}/library/registry:2`,
      `docker-archive:${saved}:registry:2`,
    ]);
    await site.run("docker", ["load", "--input", saved]);
    container = await runDocumented(site.run, { root, hosts });
    certs = await trustFolder(site);
    const copied = join(folder, "copied");
    for (const [name, to] of Object.entries({
      "library/busybox:1.36": "1.36",
      "team/two-platforms:1": "old",
    })) {
      await run("skopeo", [
        ...plain,
        "--all",
        "--preserve-digests",
        `docker://${host}/${name}`,
        `dir:${copied}-${to}`,
      ]);
      const target = `docker://${site.addresses[0]}/${name}`;
      const copy = [
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
        "--retry-times=5",
        "--dest-cert-dir",
        certs,
      ];
      await site.run("skopeo", [...copy, `dir:${copied}-${to}`, target]);
    }
    const input = await readFile(join(site.siteDir, "certs/ca.pem"));
    const script = 'mkdir -p "/etc/docker/certs.d/$0" && cat > "/etc/docker/certs.d/$0/ca.crt"';
    await site.client("with-docker").run("/bin/sh", ["-c", script, site.registryName], { input });
  }

  const atSite = (...args: string[]) => drydock(args, { on: site });

  /** On the client, which trusts what it trusted before. @returns what the container printed */
  async function pullAndRun(name: string): Promise<string> {
    const client = site.client("with-docker");
    await client.run("docker", ["pull", "--quiet", `${site.registryName}/${name}`]);
    const args = ["run", "--rm", "--network=none", `${site.registryName}/${name}`];
    return (await client.run("docker", args)).stdout.trim();
  }

  /** id, name, restart policy, whether it runs */
  async function stateOf(name: string): Promise<string> {
    const format = "{{.Id}} {{.Name}} {{.HostConfig.RestartPolicy.Name}} {{.State.Running}}";
    const { stdout } = await site.run("docker", ["inspect", "--format", format, name], { mayFail: true });
    return stdout.trim();
  }

  async function isAsItWas(): Promise<void> {
    assert.equal(await stateOf("registry"), `${container} /registry always true`);
    assert.equal(await stateOf("registry-adopted"), "");
    assert.deepEqual((await readdir(site.siteDir)).sort(), ["certs", "storage"]);
    assert.ok(!(await readdir(site.etc)).includes("drydock"));
  }

  it("serves its client, and is left alone without --adopt: the message says what to type", async () => {
    assert.match(await pullAndRun("library/busybox:1.36"), /hello/);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.old);
    const refused = await atSite("install", bundle.file);
    assert.equal(refused.code, 6, refused.stderr);
    const command = `drydock install ${bundle.file} --adopt`.replaceAll(/\s+/g, "\\s+");
    assert.match(refused.stderr, new RegExp(`To take it over:\\s+\`${command}\``));
    await isAsItWas();
  });

  it("a dry run tells what is there and what would be done", async () => {
    const { code, stdout } = await atSite("install", bundle.file, "--adopt", "--dry-run");
    assert.equal(code, 0, stdout);
    assert.match(
      stdout,
      /ok +adopt +container "registry" \(image registry:2, runs, port 443, takes pushes\)/,
    );
    assert.match(
      stdout,
      /ok +adopt +\S+registry\.pem stays: for registry\.site\.lan, 198\.18\.18\.10, until/,
    );
    assert.match(stdout, /ok +adopt +\S+storage stays, with 2 tags in 2 repositories/);
    assert.match(stdout, /warning +adopt +whoever reaches it may push, as before.*--access read-only/s);
    await isAsItWas();
  });

  it("is taken over, though the first try is killed: old and new are pulled, with the CA from before", async () => {
    const ca = await readFile(join(site.siteDir, "certs/ca.pem"), "utf8");
    await killAfter("link", "install", bundle.file, "--adopt");
    assert.equal(await servedDigest(site, "team/two-platforms:1", certs), await digestOfOld());
    const installed = await atSite("install", bundle.file, "--adopt");
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(
      installed.stdout,
      /certificates: as they were\n.*kept as "registry-adopted"\n.*`drydock rollback` gives it back/,
    );
    assert.match(await pullAndRun("library/busybox:1.36"), /hello from the bundle/);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.new);
    assert.equal(await servedDigest(site, "team/two-platforms:1", certs), await digestOfOld());
    assert.equal(await readFile(join(site.siteDir, "certs/ca.pem"), "utf8"), ca);
    assert.equal(await stateOf("registry-adopted"), `${container} /registry-adopted no false`);
    const status = await atSite("status");
    assert.equal(status.code, 0, status.stdout);
    assert.match(
      status.stdout,
      /^adopted +\d{4}-.* the container from before is kept as "registry-adopted"$/m,
    );
  });

  async function digestOfOld(): Promise<string> {
    return connected.upstream.images["team/two-platforms:1"].digest;
  }

  /** Runs it until it says that a step is done, and kills it then. */
  async function killAfter(step: string, ...args: string[]): Promise<void> {
    const [program, words] = site.enter(drydockWords[0] ?? "", [...drydockWords.slice(1), ...args]);
    const child = spawn(program, words, { env: site.env, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += String(chunk);
      if (new RegExp(`\\b${step}\\b`).test(said)) child.kill("SIGKILL");
    });
    const [code, signal] = await once(child, "exit");
    assert.equal(signal, "SIGKILL", `it ended with ${code}: ${said}`);
  }

  it("is given back by rollback: its own container, its tags", async () => {
    const back = await atSite("rollback");
    assert.equal(back.code, 0, back.stderr);
    assert.equal(
      back.stdout,
      [
        "What was at /srv/docker-registry before drydock is given back, and drydock's records are gone.",
        "  moved 1 tag, removed 1 tag",
        "  certificates: as they were",
        '  container "registry": the one that was there before, and it runs',
        "  what the bundles brought besides stays in the storage, and no tag names it",
        "",
        "To take it over again:",
        "",
        "    drydock install BUNDLE --adopt",
        "",
      ].join("\n"),
    );
    await isAsItWas();
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.old);
    assert.doesNotMatch(await pullAndRun("library/busybox:1.36"), /from the bundle/);
    const again = await atSite("rollback", "--json");
    assert.equal(again.code, 3);
  });

  it("uninstall gives it back, too; what --delete-data would take is asked about", async () => {
    assert.equal((await atSite("install", bundle.file, "--adopt")).code, 0);
    const [program, words] = site.enter("setsid", ["--wait", ...drydockWords, "uninstall", "--delete-data"]);
    const blind = await run(program, words, { env: site.env, mayFail: true });
    assert.equal(blind.code, 2, blind.stderr);
    assert.match(blind.stderr, /and the container "registry-adopted" that was here before drydock\?/);
    const removed = await atSite("uninstall");
    assert.equal(removed.code, 0, removed.stderr);
    assert.match(removed.stdout, /\nGiven back, as it was before drydock:\n {2}container registry\nKept:\n/);
    await isAsItWas();
    assert.match(await pullAndRun("library/busybox:1.36"), /from the bundle/);
    assert.equal((await atSite("install", bundle.file, "--adopt")).code, 0);
    const gone = await atSite("uninstall", "--delete-data", "--yes");
    assert.equal(gone.code, 0, gone.stderr);
    assert.equal((await site.run("docker", ["ps", "--all", "--quiet"])).stdout, "");
    await assert.rejects(readdir(site.siteDir), { code: "ENOENT" });
  });
});
