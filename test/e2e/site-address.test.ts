/**
 * The address that turned out to be another: preflight says what to type, and typing it works. Before that,
 * the dry run; and clients that are looked at before anything starts.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { hostPlatform } from "../lab/host-files.ts";
import { type Site, startSite } from "../lab/site.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock, drydockFromPipe, drydockWords } from "./drydock.ts";
import { servedDigest, treeOf, trustFolder } from "./site-state.ts";

/** What the bundle is made for, and what the site's host has. */
const planned = "10.77.0.10";
const real = "198.18.18.10";

describe("a site with another address than the bundle's", () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let bundle: BuiltBundle;
  let next: BuiltBundle;
  /** a folder with a space in its name, where the stick is mounted */
  let stick: string;

  before(async () => {
    const folder = await makeFolder("address");
    parts.defer(folder.remove);
    stick = join(folder.path, "My Stick");
    await mkdir(stick);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "address", addresses: [real] });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    bundle = await connected.bundle("plant-11", manifest(1, "library/busybox:1.36"));
    next = await connected.bundle("next", manifest(2, "library/busybox:1.36"));
  });
  after(() => parts.disposeAsync());

  function manifest(release: number, image: string): object {
    const { host } = connected.upstream;
    return {
      ...{ name: "plant-11", release, addresses: ["registry.plant11.lan", planned] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      images: [`${host}/${image}`],
    };
  }

  const install = (...args: string[]) => drydock(["install", ...args], { on: site });
  const clientFlags = () => ["--clients", site.inventory, "--known-hosts", site.knownHosts];
  const untouched = () => {
    assert.ok(!existsSync(site.siteDir), "the site's directory was made");
    assert.ok(!existsSync(join(site.etc, "drydock")), "/etc/drydock was made");
  };

  it("a dry run shows findings and plan, and writes nothing: neither at the site nor a host's key", async () => {
    const knownHosts = join(site.folder, "none-known");
    const args = [bundle.file, "--dry-run", "--address", real, "--new-certs", "--port", "8443"];
    const clients = ["--clients", site.inventory, "--known-hosts", knownHosts, "--accept-new-host-keys"];
    const { code, stdout, stderr } = await install(...args, ...clients);
    assert.equal(code, 0, stdout + stderr);
    for (const row of [
      /^ +ok +engine +version /m,
      /^ +ok +certificates +a CA and a server certificate are made here$/m,
      /^ +ok +port +8443 is free$/m,
      /^ +ok +space +\d+ MB are needed in .*, [\d,]+ MB are free$/m,
      /^ +ok +clients +2 of 3 can be logged in to, with root's rights$/m,
      /^ +warning +clients +refuses: login as "root" with the key was refused\n +Put the public key/m,
      /^release +plant-11, release 1$/m,
      /^served now +nothing$/m,
      /^blobs +(\d+ blobs \(.* [KM]iB\)), of which \1 to be placed$/m,
      /^tags +1 tag, of which 1 would move\n +library\/busybox:1\.36: new, would name [0-9a-f]{12}$/m,
      /^container +made$/m,
      /^address +https:\/\/198\.18\.18\.10:8443, read-only\nnames +198\.18\.18\.10, 127\.0\.0\.1$/m,
      /^clients +2 ready for the CA, 1 not$/m,
      /^Nothing was written\.$/m,
    ])
      assert.match(stdout, row);
    untouched();
    assert.ok(!existsSync(knownHosts));
  });

  it("a dry run from a pipe, as JSON, without a question for the code; with errors it ends with 6", async () => {
    const args = ["install", "-", "--dry-run", "--json"];
    const ready = await drydockFromPipe('cat "$0"', bundle.file, args, { on: site });
    assert.equal(ready.code, 0, ready.stderr);
    const { dryRun, findings, plan } = JSON.parse(ready.stdout);
    assert.equal(dryRun, true);
    const warnings = findings.filter(({ level }: { level: string }) => level !== "ok");
    assert.deepEqual(
      warnings.map(({ check, level }: { check: string; level: string }) => [check, level]),
      [["addresses", "warning"]],
    );
    assert.deepEqual(
      [plan.to, plan.from, plan.certificates],
      [{ name: "plant-11", release: 1 }, undefined, "take"],
    );
    assert.equal(plan.digest, bundle.digest);
    assert.equal(plan.tags.moves.length, 1);

    const refused = await drydockFromPipe('cat "$0"', bundle.file, [...args, "--address", real], {
      on: site,
    });
    assert.equal(refused.code, 6, refused.stderr);
    const told = JSON.parse(refused.stdout);
    const errors = told.findings.filter(({ level }: { level: string }) => level === "error");
    assert.deepEqual(
      errors.map(({ check }: { check: string }) => check),
      ["certificates"],
    );
    assert.match(errors[0].hint, /`drydock install - --json --address 198\.18\.18\.10 --new-certs`$/);
    untouched();
  });

  it("the address that the bundle has is on no interface: a warning with what to type", async () => {
    const { stdout } = await install(bundle.file, "--dry-run");
    const sentence = `drydock install ${bundle.file} --address registry.plant11.lan --address ${real}`;
    const typed = new RegExp(`else: \`(${sentence} [^\`]*--new-certs)\`$`, "m").exec(stdout)?.[1] ?? "";
    assert.notEqual(typed, "", stdout);
    // The engine's own bridge has it, whatever its name.
    assert.doesNotMatch(typed, /172\.17\.0\.1/);
  });

  it("is refused with the address alone, by the sentence to type; typing that serves it, proven", async () => {
    const file = join(stick, "site.tar");
    await writeFile(file, await readFile(bundle.file));
    const refused = await install(file, "--address", real);
    assert.equal(refused.code, 6, refused.stderr);
    const sentence = `drydock install '${file}' --address ${real} --new-certs`;
    const message =
      `Error: certificates: the server certificate does not name ${real}\n` +
      `It names registry.plant11.lan, ${planned}, 127.0.0.1. To have one made here that does: \`${sentence}\`\n`;
    assert.ok(refused.stderr.endsWith(message), refused.stderr);
    assert.match(refused.stdout + refused.stderr, /To keep the name: .* --address registry\.plant11\.lan /);
    untouched();

    // Typed at a shell, where drydock is on the PATH. Nobody is there to answer a question.
    const program = join(stick, "bin");
    await mkdir(program);
    const words = drydockWords.map((word) => `'${word}'`).join(" ");
    await writeFile(join(program, "drydock"), `#!/bin/sh\nexec ${words} "$@"\n`, { mode: 0o755 });
    const env = { PATH: `${program}:${process.env.PATH}` };
    const typed = await site.run("setsid", ["-w", "/bin/sh", "-c", sentence], { env, mayFail: true });
    assert.equal(typed.code, 0, typed.stderr);
    assert.match(typed.stdout, /answers at https:\/\/198\.18\.18\.10\./);
    assert.match(typed.stdout, /certificates: made here; the CA's key stays here/);
    assert.match(typed.stdout, /proven over TLS as 198\.18\.18\.10, 127\.0\.0\.1; 1 tag as in the bundle/);
  });

  it("a client trusts it, and pulls by the new address", async () => {
    const trusted = await drydock(["trust", ...clientFlags()], { on: site });
    assert.equal(trusted.code, 5, trusted.stderr);
    assert.match(trusted.stdout, /^with-docker +changed +proven by its Docker engine as 198\.18\.18\.10$/m);
    assert.match(trusted.stdout, /^refuses +refused/m);
    const image = `${real}/library/busybox:1.36`;
    await site.client("with-docker").run("docker", ["pull", "--quiet", image]);
  });

  it("the next bundle is served as was chosen here, by the certificates that are here", async () => {
    const certs = async () => await treeOf(join(site.siteDir, "certs"));
    const before = await certs();
    const { stdout: json } = await install(next.file, "--dry-run", "--json");
    const { plan } = JSON.parse(json);
    assert.deepEqual([plan.from.release, plan.to.release, plan.certificates], [1, 2, "keep"]);
    assert.deepEqual([plan.blobs.place.blobs > 0, plan.tags.moves, plan.container], [true, [], "unchanged"]);
    // Its code is not asked for: nobody could answer.
    const installed = await install(next.file, ...clientFlags());
    assert.equal(installed.code, 5, installed.stderr);
    assert.match(installed.stderr, /^ +warning +clients +refuses: login as "root"/m);
    assert.match(installed.stdout, /plant-11, release 2, is installed .* https:\/\/198\.18\.18\.10\./);
    assert.match(installed.stdout, /^with-docker +ok +proven/m);
    assert.deepEqual(await certs(), before);
    const { digest } = connected.upstream.images["library/busybox:1.36"];
    assert.equal(await servedDigest(site, "library/busybox:1.36", await trustFolder(site)), digest);
  });

  it("another port on request; and with --json what preflight found is data, also of a refusal", async () => {
    const moved = await install(next.file, "--port", "8443", "--json");
    assert.equal(moved.code, 0, moved.stderr);
    const told = JSON.parse(moved.stdout);
    assert.deepEqual([told.settings.port, told.container], [8443, "replaced: another port"]);
    assert.ok(told.findings.every(({ level }: { level: string }) => level === "ok"));
    const late = await install(next.file, "--address", planned, "--json");
    assert.equal(late.code, 6, late.stderr);
    const { error } = JSON.parse(late.stdout);
    assert.equal(error.kind, "preflight");
    assert.ok(error.data.findings.some(({ check }: { check: string }) => check === "certificates"));
  });
});
