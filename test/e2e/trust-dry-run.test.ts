/** `trust --dry-run`, with and without a site: what was understood, what would be written, and nobody asked. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import { writeRelease } from "../../src/site/record.ts";
import { run } from "../lab/process.ts";
import { makeCurrent } from "../site/current.ts";
import { assertRefused } from "./bad-input.ts";
import { makeFolder } from "./connected.ts";
import { built, drydock, drydockWords } from "./drydock.ts";

const hosts = `[web]
web[1:2] ansible_user=ops
[db]
db1 ansible_host=10.0.0.5 ansible_port=2222 repo_host=10.0.0.10
here ansible_connection=local
[db:vars]
ansible_ssh_common_args='-o StrictHostKeyChecking=no -J ops@gate:2200'
`;

describe("trust --dry-run", () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  before(async () => {
    folder = await makeFolder("trust-dry-run");
    await writeFile(join(folder.path, "hosts.ini"), hosts);
    await makeSite(["registry.plant7.lan", "10.0.0.10", "127.0.0.1"], 5000);
  });
  after(() => folder.remove());

  /** As an install leaves it. */
  async function makeSite(addresses: string[], port: number): Promise<void> {
    const layout = siteLayout(join(folder.path, "site"));
    const bundleDigest = digestOf("bundle");
    await claimSite(layout);
    await writeRelease(layout, {
      ...{ bundleDigest, name: "plant-7", release: 1, sequence: 1, installedAt: "2026-01-01T00:00:00.000Z" },
      ...{ tagsBefore: {}, tagsAfter: {}, placed: { blobs: 1, bytes: 2 }, chosen: {} },
      ...{ settings: { addresses, port, access: "read-only" }, registryImage: digestOf("registry") },
    });
    await makeCurrent(layout, bundleDigest);
    await mkdir(layout.certs, { recursive: true });
    await writeFile(layout.caCertificate, "the CA");
  }

  /** On a host that remembers no site. */
  const trust = (...args: string[]) =>
    drydock(["trust", ...args], {
      cwd: folder.path,
      env: {
        ...{ DRYDOCK_CONFIG_DIR: join(folder.path, "etc"), XDG_STATE_HOME: join(folder.path, "state") },
        SSH_AUTH_SOCK: "",
      },
    });

  it("lists the clients, and where the CA would be put", async () => {
    const result = await trust("--clients", "hosts.ini", "--dry-run", "--site", "site");
    assert.equal(result.code, 0, result.stderr);
    assert.equal(
      result.stdout,
      `name  address        user  by             repo_host
web1  web1           ops
web2  web2           ops
db1   10.0.0.5:2222        ops@gate:2200  10.0.0.10
here  this host

On each of them this would be written for the runtimes that it has, where it isn't there already:
  docker      /etc/docker/certs.d/NAME/ca.crt
  containers  /etc/containers/certs.d/NAME/ca.crt
  containerd  /etc/containerd/certs.d/NAME/ca.crt
              /etc/containerd/certs.d/NAME/hosts.toml
  k3s         /etc/rancher/k3s/registries.yaml
              /etc/rancher/k3s/drydock-registry.plant7.lan.crt
  rke2        /etc/rancher/rke2/registries.yaml
              /etc/rancher/rke2/drydock-registry.plant7.lan.crt
NAME is registry.plant7.lan:5000, 10.0.0.10:5000.

4 clients. Nobody was connected to, and nothing was written.
`,
    );
    assert.match(
      result.stderr,
      /hosts\.ini:7: ansible_ssh_common_args: StrictHostKeyChecking is not followed/,
    );
  });

  it("says the same with --json, and leaves out what the inventory doesn't say", async () => {
    const result = await trust(
      "--clients",
      "hosts.ini",
      "--dry-run",
      "--site",
      "site",
      "--json",
      "--limit",
      "db:web1",
      "--stores=docker,containers",
      "--mirror=docker.io",
    );
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(JSON.parse(result.stdout), {
      clients: [
        { name: "web1", host: "web1", user: "ops", where: "hosts.ini:2" },
        {
          ...{ name: "db1", host: "10.0.0.5", port: 2222, where: "hosts.ini:4", repoHost: "10.0.0.10" },
          jumps: [{ host: "gate", port: 2200, user: "ops" }],
        },
        { name: "here", host: "here", local: true, where: "hosts.ini:5" },
      ],
      names: ["registry.plant7.lan:5000", "10.0.0.10:5000"],
      stores: [
        {
          name: "docker",
          files: [
            "/etc/docker/certs.d/registry.plant7.lan:5000/ca.crt",
            "/etc/docker/certs.d/10.0.0.10:5000/ca.crt",
            "/etc/docker/daemon.json",
          ],
        },
        {
          name: "containers",
          files: [
            "/etc/containers/certs.d/registry.plant7.lan:5000/ca.crt",
            "/etc/containers/certs.d/10.0.0.10:5000/ca.crt",
            "/etc/containers/registries.conf.d/drydock.conf",
          ],
        },
      ],
    });
  });

  it("needs no site, unless one is named", async () => {
    const result = await trust("root@10.0.0.5", "[fd00::1]:2222", "--dry-run", "--json");
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(JSON.parse(result.stdout), {
      clients: [
        { name: "10.0.0.5", host: "10.0.0.5", user: "root", where: 'host "root@10.0.0.5"' },
        { name: "fd00::1", host: "fd00::1", port: 2222, where: 'host "[fd00::1]:2222"' },
      ],
    });
    const text = await trust("root@10.0.0.5", "--dry-run");
    assert.match(text.stdout, /no registry is installed on this host/);
    const named = await trust("root@10.0.0.5", "--dry-run", "--site", "elsewhere");
    assertRefused(named, { exit: 3, says: ["elsewhere", "no release is installed there"] });
  });

  it("shows of a proxy command only the program, which has no password in it", async () => {
    const args = `a ansible_ssh_common_args='-o ProxyCommand="sshpass -p canary-9c1 ssh -W %h:%p gate"'\n`;
    await writeFile(join(folder.path, "proxy.ini"), args);
    const refused = await trust("--clients", "proxy.ini", "--dry-run");
    assertRefused(refused, { exit: 3, says: ['proxy.ini:1: host "a"', "only with --allow-proxy-command"] });
    for (const more of [[], ["--json"]]) {
      const taken = await trust("--clients", "proxy.ini", "--dry-run", "--allow-proxy-command", ...more);
      assert.equal(taken.code, 0, taken.stderr);
      assert.match(taken.stdout, /sshpass/);
      assert.doesNotMatch(taken.stdout + taken.stderr + refused.stdout + refused.stderr, /canary/);
    }
  });

  it("tells of ten thousand clients, all of them also to a slow reader", async () => {
    await writeFile(join(folder.path, "many.ini"), "n[00001:10000].lan ansible_user=ops\n");
    await built();
    const words = [...drydockWords, "trust", "--clients", "many.ini", "--dry-run", "--json"];
    const { stdout } = await run("/bin/sh", ["-c", '"$@" | { sleep 2; cat; }', "sh", ...words], {
      cwd: folder.path,
      env: { ...process.env, DRYDOCK_CONFIG_DIR: join(folder.path, "etc") },
    });
    assert.equal(JSON.parse(stdout).clients.length, 10_000);
  });

  it("refuses a repo_host that the certificate doesn't cover", async () => {
    await writeFile(join(folder.path, "other.ini"), "[web]\na\n[web:vars]\nrepo_host=10.0.0.11\n");
    const result = await trust("--clients", "other.ini", "--site", "site", "--dry-run");
    assertRefused(result, { exit: 3, says: ['other.ini:4: host "a": repo_host "10.0.0.11" is none of'] });
  });

  it("takes the registry from flags where no site is at hand", async () => {
    const at = ["--address", "Registry.Lan", "--address=10.0.0.10", "--port=5000"];
    const taken = await trust("a", "--remove", "--dry-run", ...at);
    assert.match(
      taken.stdout,
      /this would be taken away, where drydock put it there:\n {2}docker +\/etc\/docker/,
    );
    assert.match(taken.stdout, /NAME is registry\.lan:5000, 10\.0\.0\.10:5000\./);
    assertRefused(await trust("a", ...at), { exit: 2, says: ["wanted --ca as well"] });
    assertRefused(await trust("a", "--ca", "ca.pem"), { exit: 2, says: ["wanted --address as well"] });
    const missing = await trust("a", "--ca", "no-such.pem", ...at);
    assertRefused(missing, { exit: 3, says: [`read the CA "no-such.pem": there is no such file`] });
    assertRefused(await trust("a", "--site=x", ...at), { exit: 2, says: ["--site"] });
  });

  it("takes stores that there are, and upstreams that can be", async () => {
    assertRefused(await trust("a", "--stores=docker,dicker"), { exit: 2, says: ["dicker", "containerd"] });
    const url = await trust("a", "--dry-run", "--mirror=https://quay.io");
    assertRefused(url, { exit: 2, says: ['--mirror "https://quay.io"', "--mirror quay.io,docker.io"] });
    const quay = await trust("a", "--dry-run", "--mirror=quay.io");
    assert.match(quay.stderr, /Docker itself can't look elsewhere for images of quay\.io\./);
  });

  it("with --retry are those that failed last, if it is known", async () => {
    const retry = (...words: string[]) => trust("--retry", "--clients", "hosts.ini", "--dry-run", ...words);
    assertRefused(await retry(), {
      exit: 3,
      says: ["state/drydock/clients.json", "no run is remembered there", "without --retry first"],
    });
    const state = join(folder.path, "state/drydock");
    await mkdir(state, { recursive: true });
    await writeFile(join(state, "clients.json"), JSON.stringify({ failed: ["db1", "gone", "web2"] }));
    const some = await retry("--json");
    assert.deepEqual(
      JSON.parse(some.stdout).clients.map(({ name }: { name: string }) => name),
      ["web2", "db1"],
    );
    assert.match(some.stderr, /^Not among these hosts, though they failed as well: gone$/m);

    // A site of drydock's has its own.
    await writeFile(join(folder.path, "site/clients.json"), JSON.stringify({ failed: [] }));
    const none = await trust("--retry", "--clients", "hosts.ini", "--site", "site");
    assert.deepEqual(
      [none.code, none.stdout],
      [0, "None of these hosts failed when it was last worked on: nothing to do.\n"],
    );
  });

  it("takes hosts or an inventory, not both, and one of them", async () => {
    const both = await trust("a", "--clients", "hosts.ini", "--dry-run");
    assertRefused(both, { exit: 2, says: ["wanted one of the two", "--limit"] });
    assertRefused(await trust("--dry-run"), { exit: 2, says: ["no client is named", "trust root@10.0.0.5"] });
    assertRefused(await trust("a", "--limit", "b"), { exit: 2, says: ["wanted --clients FILE as well"] });
    assertRefused(await trust("a;id", "--dry-run"), { exit: 2, says: ['host "a;id": wanted [USER@]HOST'] });
  });
});
