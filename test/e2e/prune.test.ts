/** Old releases are pruned, through the built command: looked at, done after an install, and by its own verb. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { hostPlatform } from "../lab/host-files.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { type Site, startSite } from "../lab/site.ts";
import { pushNamed } from "../lab/upstream.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock } from "./drydock.ts";
import { containerOf, releaseFolders, servedDigest, treeOf, trustFolder } from "./site-state.ts";

describe("a site with three releases", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let certs: string;
  const bundles: BuiltBundle[] = [];
  const digests: string[] = [];

  before(async () => {
    const folder = await makeFolder("prune");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "prune", clients: false });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    const { host } = connected.upstream;
    for (const release of [1, 2, 3]) {
      const image = await makeBusyboxImage({ says: `hello from release ${release}` });
      await pushNamed(host, "library/busybox:1.36", image);
      await pushNamed(host, `library/busybox:only-${release}`, image);
      digests.push(image.digest);
      const more = release === 1 ? ["team/two-platforms:1"] : [];
      const images = ["library/busybox:1.36", `library/busybox:only-${release}`, ...more];
      bundles.push(await connected.bundle(`release-${release}`, manifest(release, images)));
    }
  });
  after(() => parts.disposeAsync());

  function manifest(release: number, images: string[]): object {
    const { host } = connected.upstream;
    return {
      ...{ name: "plant-11", release, addresses: [site.registryName, ...site.addresses] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      certificates: { from: "site" },
      images: images.map((name) => `${host}/${name}`),
    };
  }

  const atSite = (...args: string[]) => drydock(args, { on: site });
  const fileOf = (release: number) => bundles[release - 1]?.file ?? "";

  /** As a client does it: with every layer, which skopeo hashes. */
  async function pulls(name: string): Promise<boolean> {
    const from = ["--src-cert-dir", certs, `docker://${site.addresses[0]}/${name}`];
    const into = `dir:${join(site.folder, "pulled")}`;
    const { code } = await site.run("skopeo", ["copy", "--quiet", ...from, into], { mayFail: true });
    await site.run("rm", ["-rf", join(site.folder, "pulled")]);
    return code === 0;
  }

  it("shows what would go, and changes nothing", async () => {
    for (const release of [1, 2]) {
      const installed = await atSite("install", fileOf(release));
      assert.equal(installed.code, 0, installed.stderr);
    }
    certs = await trustFolder(site);
    const [tree, container] = [await treeOf(site.siteDir, { folders: true }), await containerOf(site)];
    const nothing = await atSite("prune");
    assert.equal(nothing.code, 0, nothing.stderr);
    assert.equal(
      nothing.stdout,
      "Nothing to prune at /srv/docker-registry.\n  kept: plant-11, release 2; plant-11, release 1\n",
    );
    const shown = await atSite("prune", "--keep", "1", "--dry-run");
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(
      shown.stdout,
      /^[\d.]+ MiB would be free again at \/srv\/docker-registry\.\n {2}would go: plant-11, release 1\n {2}2 tags, \d+ blobs, 0 files\n {4}library\/busybox:only-1\n {4}team\/two-platforms:1\n {2}kept: plant-11, release 2\n\nNothing was changed\.\n$/,
    );
    assert.deepEqual(await treeOf(site.siteDir, { folders: true }), tree);
    assert.equal(await containerOf(site), container);
    assert.ok(await pulls("team/two-platforms:1"));
  });

  it("prunes after an install; what is kept pulls, and rollback goes back to it", async () => {
    const installed = await atSite("install", fileOf(3), "--prune");
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(
      installed.stdout,
      / are free again at \/srv\/docker-registry\.\n {2}gone: plant-11, release 1\n(?: .*\n)* {2}kept: plant-11, release 3; plant-11, release 2\n {2}proven over TLS; 3 tags as recorded\n/,
    );
    for (const name of ["1.36", "only-2", "only-3"]) assert.ok(await pulls(`library/busybox:${name}`), name);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests[2]);
    for (const name of ["team/two-platforms:1", "library/busybox:only-1"])
      assert.ok(!(await pulls(name)), name);
    assert.equal((await releaseFolders(site)).length, 2);
    assert.equal((await atSite("rollback")).code, 0);
    assert.equal(await servedDigest(site, "library/busybox:1.36", certs), digests[1]);
    assert.ok(await pulls("library/busybox:only-2"));
    assert.equal((await atSite("rollback", "3")).code, 0);
  });

  it("prunes without a bundle, tells it in JSON, and leaves a healthy site", async () => {
    const pruned = await atSite("prune", "--keep", "1", "--json");
    assert.equal(pruned.code, 0, pruned.stderr);
    const { removed, kept, proof } = JSON.parse(pruned.stdout);
    assert.deepEqual(
      [removed.releases, removed.tags, kept, proof.tags],
      [
        [{ name: "plant-11", release: 2, digest: bundles[1]?.digest }],
        ["library/busybox:only-2"],
        [{ name: "plant-11", release: 3, digest: bundles[2]?.digest }],
        2,
      ],
    );
    assert.ok(removed.blobs > 0 && removed.bytes > 0);
    for (const name of ["1.36", "only-3"]) assert.ok(await pulls(`library/busybox:${name}`), name);
    const status = await atSite("status", "--deep");
    assert.equal(status.code, 0, status.stdout);
    const none = await atSite("rollback");
    assert.equal(none.code, 3);
    assert.match(none.stderr, /there is no release before it/);
    assert.equal((await atSite("prune", "--keep", "0")).code, 2);
    assert.equal((await atSite("install", fileOf(3), "--keep", "1")).code, 2);
  });
});
