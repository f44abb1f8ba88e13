/**
 * A site that is not ready, a wrong passphrase, clients that are not there: what stands in the way is said
 * at once, and nothing at the site is touched.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { inTerminal } from "../cli/in-terminal.ts";
import { startService, waitFor } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { type Site, startSite } from "../lab/site.ts";
import { makeKey } from "../lab/sshd.ts";
import { assertRefused, type Desk, manifestFile, startDesk } from "./bad-input.ts";
import { makeFolder } from "./connected.ts";
import { drydock, drydockWords } from "./drydock.ts";
import { treeOf } from "./site-state.ts";

describe("a site", () => {
  const parts = new AsyncDisposableStack();
  let desk: Desk;
  let site: Site;
  let bundle: string;
  let codeFile: string;
  before(async () => {
    const folder = await makeFolder("bad-site-lab");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: folder.path, name: "bad", clients: false });
      parts.defer(site.stop);
    };
    const startDeskSide = async () => {
      desk = await startDesk("bad-site", { registryImage: await makeRegistryImage() });
      parts.defer(desk.stop);
      const made = await desk.bundle(
        manifestFile(desk.manifest, { images: [`${desk.proxy.host}/team/app:1`] }),
      );
      assert.equal(made.code, 0, made.stderr);
      bundle = join(made.folder, "site.tar");
      codeFile = await secretFile("code", /^ +code +(\S+)$/m.exec(made.stdout)?.[1] ?? "");
    };
    await Promise.all([startSiteSide(), startDeskSide()]);
  });
  after(() => parts.disposeAsync());

  async function secretFile(name: string, secret: string): Promise<string> {
    const file = join(desk.folder, name);
    await writeFile(file, `${secret}\n`, { mode: 0o600 });
    return file;
  }

  const install = (passphraseFile: string, flags: string[] = [], env: NodeJS.ProcessEnv = {}) =>
    drydock(["install", bundle, "--passphrase-file", passphraseFile, ...flags], { on: site, env });

  /** Containers and images, each by its id, and what they do. */
  async function atEngine(): Promise<string> {
    const list =
      "docker ps --all --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'; docker images --quiet --no-trunc";
    return (await site.run("/bin/sh", ["-c", list])).stdout;
  }

  /** Runs `work`, after which the site, its engine and its record must be as they were: here, absent. */
  async function leavesNothing(work: () => Promise<void>): Promise<void> {
    const engine = await atEngine();
    await work();
    assert.equal(await atEngine(), engine);
    assert.ok(!existsSync(site.siteDir), "the site's directory was made");
    assert.ok(!existsSync(join(site.etc, "drydock")), "/etc/drydock was made");
  }

  it("with a wrong passphrase", () =>
    leavesNothing(async () => {
      const result = await install(await secretFile("wrong", "ABCDE-FGHJK-MNPQR-STVWX"));
      assertRefused(result, {
        exit: 3,
        says: ["wrong passphrase", "`drydock bundle` showed for this very bundle"],
      });
    }));

  it("with nobody at a terminal, and no passphrase file", () =>
    leavesNothing(async () => {
      // setsid leaves the terminal from which these tests may have been started.
      const result = await site.run("setsid", ["-w", ...drydockWords, "install", bundle], { mayFail: true });
      const says = [
        "Code or passphrase of the server's key",
        "no terminal to ask at",
        "--passphrase-file FILE",
      ];
      assertRefused(result, { exit: 2, says });
    }));

  it("with a bundle from a pipe, and a code that is mistyped: the terminal is asked again", () =>
    leavesNothing(async () => {
      const code = (await readFile(codeFile, "utf8")).trim();
      const words = [...drydockWords.slice(1), "install", "-", "--site", join(desk.folder, "at-terminal")];
      const environment = `DOCKER_HOST=unix:///run/no-engine.sock DRYDOCK_CONFIG_DIR=${desk.folder}/config`;
      const screens = await inTerminal(
        [100, 40],
        `--version; cat ${bundle} | ${environment} ${drydockWords[0]} ${words.join(" ")}`,
        { when: /^Code or passphrase of the server's key:$/m, keys: ["ABCDE", "Enter"] },
        { when: /^Not right\. Code or passphrase of the server's key:$/m, keys: [code, "Enter"] },
      );
      const last = screens.at(-1) ?? "";
      assert.match(last, /^Error: engine: "unix:\/\/\/run\/no-engine\.sock" does not answer/m);
      assert.match(last, /^130 or less: 6$/m);
      assert.ok(!screens.some((screen) => screen.includes(code) || screen.includes("ABCDE")), last);
    }));

  it("without an engine", () =>
    leavesNothing(async () => {
      const result = await install(codeFile, [], { DOCKER_HOST: "unix:///run/no-engine.sock" });
      const says = ['engine: "unix:///run/no-engine.sock" does not answer', "systemctl status docker"];
      assertRefused(result, { exit: 6, says });
    }));

  it("where port, container, directory and file system are not ours: one report names them all", async () => {
    // In a folder that we may not write to, even as root, lies somebody's storage.
    const theirs = join(site.folder, "host/srv/theirs");
    await mkdir(join(theirs, "storage/docker/registry/v2"), { recursive: true });
    await site.run("mount", ["--bind", theirs, theirs]);
    await site.run("mount", ["-o", "remount,bind,ro", theirs]);
    await site.run("/bin/sh", [
      "-c",
      "tar c -C / bin/sh | docker import - theirs && docker create --name registry theirs /bin/sh",
    ]);
    const serve = "require('net').createServer().listen(443, () => console.log('listening'))";
    const [program, args] = site.enter(process.execPath, ["-e", serve]);
    const service = await startService(program, args, {
      log: join(site.folder, "listener.log"),
      signal: "SIGKILL",
    });
    try {
      await waitFor(
        "the listener",
        service,
        20,
        async () => (await service.readLog()).includes("listening") || undefined,
      );
      await leavesNothing(async () => {
        const before_ = await treeOf(theirs, { folders: true });
        const result = await install(codeFile, ["--site", theirs]);
        const says = ["4 things stand in the way: container, port, site, permissions", "stands above"];
        assertRefused(result, { exit: 6, says });
        for (const row of [
          /^ +error +container +there is a container "registry" \(image theirs\), and it isn't drydock's\n +It is left alone\./m,
          /^ +error +port +443 is taken by \S+ \(process \d+\)\n +Stop what listens there\. .*`drydock install \S+ .*--port 8443`$/m,
          new RegExp(
            `^ +error +site +${theirs}/storage holds what drydock did not put there\\n +To take it over, .*--adopt\`\\. Or move it away`,
            "m",
          ),
          new RegExp(
            `^ +error +permissions +cannot write in ${theirs}: .*read-only\\n +Mount it for writing`,
            "m",
          ),
          /^ +ok +engine +version /m,
        ])
          assert.match(result.stderr, row);
        assert.deepEqual(await treeOf(theirs, { folders: true }), before_);
      });
    } finally {
      await service.stop();
      await site.run("docker", ["rm", "registry"], { mayFail: true });
      await site.run("umount", [theirs], { mayFail: true });
    }
  });

  it("with an inventory for another registry", () =>
    leavesNothing(async () => {
      const inventory = join(desk.folder, "other.ini");
      await writeFile(inventory, "[clients]\nplc-1 repo_host=registry.other.lan\n");
      const result = await install(codeFile, ["--clients", inventory]);
      const says = [
        `${inventory}:2: host "plc-1": repo_host "registry.other.lan"`,
        "registry.site.lan, 198.18.18.10",
      ];
      assertRefused(result, { exit: 3, says });
    }));

  it("that is well, with clients none of which is there: all are named, before anything starts", () =>
    leavesNothing(async () => {
      const inventory = join(desk.folder, "unknown.ini");
      const key = join(desk.folder, "id");
      await makeKey(key);
      const more = `ansible_ssh_private_key_file=${key}`;
      await writeFile(inventory, `no-such-host ${more}\nsilent ansible_host=198.18.18.10 ${more}\n`);
      const result = await install(codeFile, ["--clients", inventory]);
      assertRefused(result, { exit: 6, says: ["2 things stand in the way: clients"] });
      for (const row of [
        /^ +error +clients +no-such-host: "no-such-host" does not resolve here .*\n.*ansible_host/m,
        /^ +error +clients +silent: connect to 198\.18\.18\.10:22: .*\n.*ansible_port/m,
      ])
        assert.match(result.stderr, row);
    }));
});
