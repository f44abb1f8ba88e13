/** One process at a time: two of them, one killed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { DrydockError } from "../src/errors.ts";
import { lockHolder, takeLock } from "../src/lock.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-lock-"));
after(() => rm(folder, { recursive: true, force: true }));

/** Another process that locks `root` and stays. */
async function otherProcess(root: string): Promise<ChildProcess> {
  const module = new URL("../src/lock.ts", import.meta.url).href;
  const script = `import { takeLock } from ${JSON.stringify(module)};
    await takeLock("site", process.argv[1]); console.log("locked"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, root], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

test("the second one is told who has the site, and gets it after a kill -9", async () => {
  const root = join(folder, "killed", "site");
  const child = await otherProcess(root);
  try {
    await assert.rejects(takeLock("site", root), (error) => {
      assert.ok(error instanceof DrydockError);
      assert.equal(error.kind, "preflight");
      assert.match(error.message, new RegExp(`process ${child.pid}\\b`));
      return true;
    });
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  const lock = await takeLock("site", root);
  await lock.release();
});

test("a lock can be released and taken again in one process", async () => {
  const root = join(folder, "again");
  const lock = await takeLock("site", root);
  await assert.rejects(takeLock("site", root), DrydockError);
  await lock.release();
  await (await takeLock("site", root)).release();
});

test("two names of one folder are one site", async () => {
  await mkdir(join(folder, "real"));
  await symlink(join(folder, "real"), join(folder, "link"));
  const lock = await takeLock("site", join(folder, "real", "site"));
  await assert.rejects(takeLock("site", join(folder, "link", "site")), DrydockError);
  await lock.release();
});

test("one who is patient gets it when the other one is done", async () => {
  const path = join(folder, "awaited");
  const first = await takeLock("key store", path);
  const second = takeLock("key store", path, 20_000);
  await assert.rejects(takeLock("key store", path, 100), { kind: "preflight" });
  await first.release();
  await (await second).release();
});

test("two sites are independent", async () => {
  const locks = await Promise.all([takeLock("site", join(folder, "a")), takeLock("site", join(folder, "b"))]);
  await Promise.all(locks.map((lock) => lock.release()));
});

test("who has a lock can be seen without taking it", async () => {
  const root = join(folder, "seen");
  assert.equal(await lockHolder("site", root), undefined);
  const child = await otherProcess(root);
  try {
    assert.equal(await lockHolder("site", root), child.pid);
    assert.equal(await lockHolder("output", root), undefined);
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  assert.equal(await lockHolder("site", root), undefined);
});
