/** `trust --kit` and `trust --ansible`, as typed: from a site and from flags, what is told, and what is refused. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { run } from "../lab/process.ts";
import { makeCertificates } from "../trust/tls-server.ts";
import { assertRefused } from "./bad-input.ts";
import { makeFolder } from "./connected.ts";
import { drydock } from "./drydock.ts";

describe("trust --kit and --ansible", () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  before(async () => {
    folder = await makeFolder("trust-kit");
    await makeCertificates(folder.path, "good", "DNS:registry.plant7.lan");
  });
  after(() => folder.remove());

  /** On a host that remembers no site. */
  const trust = (...args: string[]) =>
    drydock(["trust", ...args], {
      cwd: folder.path,
      env: { DRYDOCK_CONFIG_DIR: join(folder.path, "etc"), SSH_AUTH_SOCK: "" },
    });
  const registry = ["--ca", "good-ca.pem", "--address", "registry.plant7.lan", "--port", "5000"];

  it("write both at once, and say what to do with them", async () => {
    const result = await trust(...registry, "--kit", "kit.zip", "--ansible", "my role");
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /^ {4}sh drydock-kit-registry\.plant7\.lan5000\/linux\.sh install$/m);
    assert.match(
      result.stdout,
      /^ {4}ansible-playbook -i hosts\.ini --check --diff 'my role\/playbook\.yml'$/m,
    );
    await run("unzip", ["-t", join(folder.path, "kit.zip")]);
    assert.ok((await readdir(join(folder.path, "my role"))).includes("tasks"));
  });

  it("say the same with --json", async () => {
    const { stdout, code } = await trust(...registry, "--kit", "json.zip", "--json");
    assert.equal(code, 0);
    const { kit } = JSON.parse(stdout);
    const inside = await run("unzip", ["-p", join(folder.path, "json.zip"), "*/ca.pem"]);
    const { stdout: sum } = await run("sha256sum", [], { input: inside.stdout });
    assert.deepEqual(
      { ...kit, files: kit.files.length },
      {
        ...{ path: "json.zip", files: 5, names: ["registry.plant7.lan:5000"] },
        caSha256: sum.split(" ")[0],
      },
    );
  });

  it("refuse what would be lost, what is no CA, and hosts besides", async () => {
    await writeFile(join(folder.path, "mine.zip"), "mine");
    await mkdir(join(folder.path, "mine"));
    await writeFile(join(folder.path, "mine/notes"), "mine");
    const cases: [args: string[], exit: number, says: (string | RegExp)[]][] = [
      [[...registry, "--kit", "mine.zip"], 2, ['"mine.zip": it exists', "--force"]],
      [[...registry, "--ansible", "mine"], 2, ['"mine": the folder holds something else', "--force"]],
      [["--ca", "good-pem", ...registry.slice(2), "--kit", "leaf.zip"], 3, ["is not an authority"]],
      [[...registry, "--kit", "h.zip", "root@10.0.0.5"], 2, ["root@10.0.0.5", "nobody is connected to"]],
      [
        [...registry, "--kit", "h.zip", "--clients", "hosts.ini", "--retry"],
        2,
        ["besides --clients, --retry:"],
      ],
      [["--kit", "none.zip"], 3, ["--site"]],
    ];
    for (const [args, exit, says] of cases) assertRefused(await trust(...args), { exit, says });
    assert.equal(await readFile(join(folder.path, "mine.zip"), "utf8"), "mine");
    assert.deepEqual((await readdir(folder.path)).filter((name) => name.endsWith(".zip")).sort(), [
      "json.zip",
      "kit.zip",
      "mine.zip",
    ]);
  });
});
