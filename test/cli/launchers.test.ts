import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { built } from "../e2e/drydock.ts";

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "drydock-launchers-"));

/** A copy of what is installed: bin, package.json, dependencies, and the build. */
before(async () => {
  for (const name of ["bin", "package.json"])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  assert.equal(run(join(folder, "bin/drydock.js")).status, 2, "without a build");
  await built();
  cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
});

after(() => rmSync(folder, { recursive: true }));

function run(...argv: string[]) {
  return spawnSync(process.execPath, argv, { encoding: "utf8" });
}

for (const launcher of [join(root, "bin/dev.js"), join(folder, "bin/drydock.js")]) {
  const name = launcher.endsWith("dev.js") ? "bin/dev.js" : "bin/drydock.js";

  test(`${name} shows the help and the version`, () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    assert.match(run(launcher, "--help").stdout, /USAGE\n {2}\$ drydock/);
    assert.match(run(launcher, "--version").stdout, new RegExp(`^drydock/${version} `));
  });

  test(`${name} gives the exit codes`, () => {
    const { status, stdout, stderr } = run(launcher, "no-such-command");
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^Error: there is no command "no-such-command"\n/);
  });

  test(`${name} says in one line that Node.js is too old`, () => {
    // An old Node.js knows nothing of this program but its text: only its version counts.
    const old = join(folder, "old.mjs");
    writeFileSync(
      old,
      `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "18.20.4" } });
       Object.defineProperty(process, "version", { value: "v18.20.4" });
       await import(${JSON.stringify(launcher)});`,
    );
    const { status, stdout, stderr } = run(old, "--help");
    assert.deepEqual([status, stdout], [2, ""]);
    assert.match(stderr, /^drydock needs Node\.js 24 or newer; this is v18\.20\.4 .*\n$/);
  });

  test(`${name} gives the file syncs a pool of sixteen threads`, () => {
    const probe = join(folder, "probe.mjs");
    writeFileSync(
      probe,
      `import { stat } from "node:fs/promises";
       import { readdirSync } from "node:fs";
       process.argv.splice(2, 99, "--version");
       process.exit = () => {};
       const before = readdirSync("/proc/self/task").length;
       delete process.env.UV_THREADPOOL_SIZE;
       await import(${JSON.stringify(launcher)});
       await stat("/");
       console.log("threads", readdirSync("/proc/self/task").length - before);`,
    );
    const threads = Number(/threads (\d+)/.exec(run(probe).stdout)?.[1]);
    assert.ok(threads >= 16, `${threads} more threads`);
  });
}

test("bin/drydock.js keeps what was compiled in its build, and only there where the build is the caller's", () => {
  const [build, launcher] = [join(folder, "dist"), join(folder, "bin/drydock.js")];
  const kept = join(build, ".compiled");
  rmSync(kept, { recursive: true, force: true });
  const env = { ...process.env };
  delete env.NODE_COMPILE_CACHE;
  const version = () =>
    spawnSync(process.execPath, [launcher, "--version"], { encoding: "utf8", env }).status;
  chownSync(build, 65534, 65534);
  assert.deepEqual([version(), existsSync(kept)], [0, false]);
  chownSync(build, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
  assert.deepEqual([version(), existsSync(kept)], [0, true]);
});
