/** Releases at a site, through the built command: back, forward, refused, undone, and taken away again. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { hostPlatform } from "../lab/host-files.ts";
import { run } from "../lab/process.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { type Site, startSite } from "../lab/site.ts";
import { pushNamed } from "../lab/upstream.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock, drydockWords } from "./drydock.ts";
import { containerOf, servedDigest, treeOf, trustFolder } from "./site-state.ts";

describe("a site with two releases", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let [first, second]: (BuiltBundle | undefined)[] = [];
  let certs: string;
  let container: string;
  const digests: Record<"old" | "new" | "pushed", string> = { old: "", new: "", pushed: "" };

  before(async () => {
    const folder = await makeFolder("rollback");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "rollback", clients: false });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    const { host, images } = connected.upstream;
    digests.old = images["library/busybox:1.36"].digest;
    digests.pushed = images["team/artifact:1"].digest;
    first = await connected.bundle("first", manifest(1, "library/busybox:1.36"));
    const newer = await makeBusyboxImage({ says: "hello from the next release" });
    await pushNamed(host, "library/busybox:1.36", newer);
    digests.new = newer.digest;
    second = await connected.bundle("second", manifest(2, "library/busybox:1.36", "team/two-platforms:1"));
  });
  after(() => parts.disposeAsync());

  function manifest(release: number, ...images: string[]): object {
    const { host } = connected.upstream;
    return {
      ...{ name: "plant-11", release, addresses: [site.registryName, ...site.addresses] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2`, access: "push" },
      certificates: { from: "site" },
      images: images.map((name) => `${host}/${name}`),
    };
  }

  const atSite = (...args: string[]) => drydock(args, { on: site });

  async function tagsOf(repository: string): Promise<string[]> {
    const args = ["--silent", "--cacert", join(certs, "ca.crt")];
    const url = `https://${site.addresses[0]}/v2/${repository}/tags/list`;
    return JSON.parse((await site.run("curl", [...args, url])).stdout).tags ?? [];
  }

  it("goes back: the text says what it did, the container goes on, a client's push is left alone", async () => {
    for (const bundle of [first, second]) {
      const installed = await atSite("install", bundle?.file ?? "");
      assert.equal(installed.code, 0, installed.stderr);
      certs = await trustFolder(site);
    }
    const from = ["--src-tls-verify=false", `docker://${connected.upstream.host}/team/artifact:1`];
    const layout = `oci:${join(connected.folder, "artifact")}`;
    await run("skopeo", ["copy", "--quiet", ...from, layout]);
    const to = `docker://${site.addresses[0]}/team/two-platforms:mine`;
    await site.run("skopeo", ["copy", "--quiet", "--dest-cert-dir", certs, layout, to]);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.new);
    container = await containerOf(site);

    const back = await atSite("rollback");
    assert.equal(back.code, 0, back.stderr);
    const url = `https://${site.registryName}`;
    assert.equal(
      back.stdout,
      [
        `plant-11, release 1, is served instead of release 2 at /srv/docker-registry, and answers at ${url}.`,
        "  moved 1 tag, removed 1 tag",
        "  certificates: as they were",
        '  container "registry": unchanged',
        `  proven over TLS as ${site.registryName}, ${site.addresses[0]}; 1 tag as recorded`,
        "",
        "To go to the other one again:",
        "",
        `    drydock rollback ${second?.digest.slice(0, 12)}`,
        "",
      ].join("\n"),
    );
    assert.match(back.stderr, /check.*tags.*1 moved, 1 removed.*run.*unchanged.*prove tags/s);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.old);
    assert.deepEqual(await tagsOf("team/two-platforms"), ["mine"]);
    assert.equal(await servedDigest(site, "team/two-platforms:mine", certs), digests.pushed);
    assert.equal(await containerOf(site), container);
  });

  it("has nothing before the first, and says what there is", async () => {
    const before = await treeOf(site.siteDir, { folders: true });
    const none = await atSite("rollback");
    assert.equal(none.code, 3);
    assert.match(
      none.stderr,
      /^Error: go back: there is no release before it:\n.*release 1.*\(current\)\n.*release 2.*\(rolled back\)\nName another one/,
    );
    const unknown = await atSite("rollback", "7", "--json");
    assert.equal(unknown.code, 3);
    assert.match(JSON.parse(unknown.stdout).error.message, /^release "7": there is no such release here:\n/);
    assert.deepEqual(await treeOf(site.siteDir, { folders: true }), before);
  });

  it("goes forward by a digest, and tells it in JSON", async () => {
    const forth = await atSite("rollback", second?.digest.slice(0, 8) ?? "", "--json");
    assert.equal(forth.code, 0, forth.stderr);
    const { from, to, tagsMoved, tagsRemoved, certificates, proof, ...rest } = JSON.parse(forth.stdout);
    assert.deepEqual(from, { name: "plant-11", release: 1, digest: first?.digest });
    assert.deepEqual(to, { name: "plant-11", release: 2, digest: second?.digest });
    assert.deepEqual(
      { tagsMoved, tagsRemoved, certificates },
      { tagsMoved: 2, tagsRemoved: 0, certificates: "unchanged" },
    );
    assert.equal(proof.tags, 2);
    assert.equal("container" in rest, false);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.new);
    assert.deepEqual((await tagsOf("team/two-platforms")).sort(), ["1", "mine"]);
    assert.equal(await containerOf(site), container);
  });

  it("refuses an older bundle, and takes it when it is told to", async () => {
    const refused = await atSite("install", first?.file ?? "");
    assert.equal(refused.code, 6, refused.stderr);
    assert.match(refused.stderr, /release 2, is served here, and the bundle is the older release 1/);
    assert.match(refused.stderr, /`drydock rollback 1`\. .*`drydock install .* --allow-downgrade`/);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.new);
    const taken = await atSite("install", first?.file ?? "", "--allow-downgrade");
    assert.equal(taken.code, 0, taken.stderr);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.old);
    assert.equal((await atSite("rollback")).code, 0);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests.new);
  });

  it("asks before it deletes data: without a terminal it does not, at one only after yes", async () => {
    const before = await treeOf(site.siteDir, { folders: true });
    const [program, words] = site.enter("setsid", ["--wait", ...drydockWords, "uninstall", "--delete-data"]);
    const blind = await run(program, words, { env: site.env, mayFail: true });
    assert.equal(blind.code, 2, blind.stderr);
    assert.match(blind.stderr, /Delete all of \/srv\/docker-registry.*no terminal to ask at\nAdd --yes/);
    const no = await atTerminal("no");
    assert.match(no.stdout, /Type yes to go on: /);
    assert.equal(no.code, 2, no.stdout);
    assert.deepEqual(await treeOf(site.siteDir, { folders: true }), before);
    assert.equal(await containerOf(site), container);
  });

  /** `drydock uninstall --delete-data` at a terminal of its own (script(1)), where the answer is typed. */
  function atTerminal(answer: string) {
    const command = [...drydockWords, "uninstall", "--delete-data"].join(" ");
    const script = ["--quiet", "--return", "--command", command, "/dev/null"];
    return site.run("script", script, { input: `${answer}\n`, mayFail: true });
  }

  it("is taken away: nothing but the data is left, then nothing to do", async () => {
    const removed = await atSite("uninstall");
    assert.equal(removed.code, 0, removed.stderr);
    assert.match(
      removed.stdout,
      /^Removed:\n {2}container registry\n {2}image drydock\/registry:[0-9a-f]{12}\n/,
    );
    assert.match(
      removed.stdout,
      /\nKept:\n {2}\/srv\/docker-registry\/storage\n {2}\/srv\/docker-registry\/certs\nWhen nobody needs that any more:\n {4}drydock uninstall --delete-data --site \/srv\/docker-registry\nClients still trust its CA\. To take it away from them:\n {4}drydock trust --clients INVENTORY --remove --address registry\.site\.lan --address 198\.18\.18\.10\n$/,
    );
    assert.deepEqual((await readdir(site.siteDir)).sort(), ["certs", "drydock.json", "storage"]);
    assert.ok(!(await readdir(site.etc)).includes("drydock"));
    const { stdout } = await site.run("docker", ["ps", "--all", "--quiet"]);
    assert.equal(stdout, "");
    const looked = await atSite("status");
    assert.equal(looked.code, 3);
    assert.match(looked.stderr, /but data kept by `drydock\s+uninstall` on 20.*--adopt/s);
    const again = await atSite("uninstall");
    assert.equal(again.code, 0);
    assert.match(again.stdout, /^Nothing of drydock's is at \/srv\/docker-registry but data\.\nKept:\n/);
    const marker = join(site.siteDir, "drydock.json");
    const left = await readFile(marker, "utf8");
    for (const words of [["install", first?.file ?? "", "--adopt"], ["rollback"]]) {
      const { code, stderr } = await atSite(...words);
      assert.equal(code, 0, stderr);
    }
    assert.equal(await readFile(marker, "utf8"), left, "they are drydock's as before");
    const deleted = await atSite("uninstall", "--delete-data", "--yes");
    assert.equal(deleted.code, 0, deleted.stderr);
    await assert.rejects(readdir(site.siteDir), { code: "ENOENT" });
    await site.run("mkdir", ["-p", "/srv/docker-registry/storage/theirs"]);
    const foreign = await atSite("uninstall", "--delete-data", "--yes");
    assert.equal(foreign.code, 6);
    assert.match(foreign.stderr, /it is not drydock's: no drydock\.json is in it/);
  });

  it("is deleted after yes at the terminal, with the engine's part left where the engine is gone", async () => {
    await site.run("rm", ["-r", "/srv/docker-registry"]);
    assert.equal((await atSite("install", first?.file ?? "")).code, 0);
    const gone = await drydock(["uninstall", "--json"], {
      on: site,
      env: { DOCKER_HOST: "unix:///run/none.sock" },
    });
    assert.equal(gone.code, 9, gone.stderr);
    assert.equal(JSON.parse(gone.stdout).left.length, 1);
    assert.equal((await atSite("uninstall")).code, 0);
    await site.run("rm", ["-r", "/srv/docker-registry"]);
    assert.equal((await atSite("install", first?.file ?? "")).code, 0);
    const deleted = await atTerminal("yes");
    assert.equal(deleted.code, 0, deleted.stdout);
    await assert.rejects(readdir(site.siteDir), { code: "ENOENT" });
    assert.equal((await site.run("docker", ["ps", "--all", "--quiet"])).stdout, "");
  });
});
