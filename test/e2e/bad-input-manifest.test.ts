/** Manifests that are wrong: every mistake with its line, and nothing is fetched. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { assertRefused, type Desk, manifestFile, startDesk } from "./bad-input.ts";
import { drydock } from "./drydock.ts";

describe("a manifest", () => {
  let desk: Desk;
  before(async () => {
    desk = await startDesk("bad-manifest");
  });
  after(() => desk.stop());

  async function refused(
    text: string,
    says: (string | RegExp)[],
    flags: string[] = [],
    exit = 3,
  ): Promise<void> {
    const tried = await desk.bundle({ "manifest.yaml": text }, { flags });
    assertRefused(tried, { exit, says });
    assert.deepEqual(tried.left, ["manifest.yaml"]);
    assert.deepEqual(desk.proxy.asked, []);
  }

  it("that is not YAML", async () => {
    const text = 'name: plant-7\naddresses: [registry.site.lan, "10.0.0.10]\nimages:\n  - alpine:3\n';
    await refused(text, [
      /manifest\.yaml:5: not YAML: .* \(it begins on line 2\)/,
      "The cause may stand further up",
    ]);
  });

  it("that is not named", async () => {
    const { code, stderr } = await drydock(["bundle", "--mirror", "docker.io=mirror.lan"]);
    assert.equal(code, 2);
    assert.equal(
      stderr,
      "Error: missing 1 required arg:\nmanifest  the manifest, a YAML file\nSee `drydock bundle --help`.\n",
    );
  });

  it("that is something else", async () => {
    await refused("\u007fELF\u0002 a program", ["manifest.yaml:1: "]);
  });

  it("with all kinds of mistakes: one run names each, with its line", async () => {
    const { host } = desk.proxy;
    const text = [
      "name: plant-7",
      "addresses:",
      "  - registry.site.lan",
      "  - 10.0.0.999",
      "  - https://registry.site.lan",
      "relase: 2",
      `registry: {image: "${host}/library/registry:2", port: 70000}`,
      "certificates: {ca: ca.json}",
      "images:",
      `  - ${host}/team/app:1`,
      "  - quay.io/team/app:1",
      "  - 3.20",
      "  - quay.io/team/App:1",
      "files: [charts/*.tgz]",
      "seeds:",
      "  - file: old-seed.tar.gz",
      "  - {url: https://example.org/seed.tar, file: seed.tar, sha256: 12}",
      "platforms: linux/amd64",
    ].join("\n");
    await refused(text, [
      'manifest.yaml:4: addresses[1]: address "10.0.0.999": it is no possible IPv4 address',
      'manifest.yaml:5: addresses[2]: address "https://registry.site.lan": it is a URL',
      "manifest.yaml:6: relase: unknown key; did you mean `release`?",
      "manifest.yaml:7: registry.port: wanted a number from 1 to 65535, got 70000",
      'manifest.yaml:8: certificates.ca: read "ca.json": there is no such file',
      `manifest.yaml:11: images[1]: quay.io/team/app:1 and ${host}/team/app:1 (line 10) would both be team/app:1`,
      /manifest\.yaml:12: images\[2\]: wanted text or keys with values, got 3\.2; put it in quotes/,
      /manifest\.yaml:13: images\[3\]: .*"quay\.io\/team\/App:1"/,
      'manifest.yaml:14: files[0]: "charts/*.tgz" matches no file',
      'manifest.yaml:16: seeds[0].file: there is no file "old-seed.tar.gz"',
      "manifest.yaml:17: seeds[1].file: wanted either `url` or `file`, got both",
      "manifest.yaml:17: seeds[1].sha256: wanted text, got 12; put it in quotes",
      'manifest.yaml:18: platforms: wanted a list, got "linux/amd64"',
    ]);
  });

  it("that is not there", async () => {
    const tried = await desk.bundle({});
    assertRefused(tried, { exit: 3, says: ['read manifest "manifest.yaml": there is no such file'] });
    assert.deepEqual(tried.left, []);
  });

  it("that is well, with flags that are not", async () => {
    const text = manifestFile(desk.manifest)["manifest.yaml"];
    await refused(
      text,
      ['--mirror "docker.io": wanted REGISTRY=HOST[:PORT]', "docker.io=mirror.lan:5000"],
      ["--mirror", "docker.io"],
      2,
    );
    await refused(
      text,
      ['--mirror "docker.io=http://x"', "wanted REGISTRY"],
      ["--mirror", "docker.io=http://x"],
      2,
    );
    await refused(text, ['--plain-http "http://x": wanted HOST[:PORT]'], ["--plain-http", "http://x"], 2);
    await refused(
      text,
      ['read passphrase file "no-file": there is no such file'],
      ["--passphrase-file", "no-file"],
    );
  });
});
