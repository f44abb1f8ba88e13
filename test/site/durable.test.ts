/** Files and folders that survive a power cut: contents, permissions, order, and what a failure leaves. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import {
  cannotWrite,
  makeFolder,
  makeFolderUnsynced,
  removeTemporaries,
  syncFolders,
  writeDurably,
} from "../../src/site/durable.ts";
import { run } from "../lab/process.ts";
import { diskEvents } from "./disk-order.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-durable-"));
const mounts: string[] = [];
after(async () => {
  for (const mount of mounts) await run("umount", ["--lazy", mount]);
  await rm(folder, { recursive: true });
});

const mode = async (path: string) => (await stat(path)).mode & 0o777;

async function withUmask<T>(umask: number, work: () => Promise<T>): Promise<T> {
  const before = process.umask(umask);
  try {
    return await work();
  } finally {
    process.umask(before);
  }
}

test("a file is written, synced, renamed, and its folder synced: in this order", async () => {
  const path = join(folder, "ordered");
  const events = await diskEvents(() => writeDurably(path, "content"));
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ["write", "sync", "rename", "sync"],
  );
  const [write, sync, renamed, last] = events;
  assert.equal(sync?.path, write?.path);
  assert.deepEqual(renamed, { kind: "rename", from: write?.path, path });
  assert.equal(dirname(write?.path ?? ""), folder);
  assert.equal(last?.path, folder);
  assert.equal(await readFile(path, "utf8"), "content");
});

test("permissions are as asked for, whatever the umask", async () => {
  for (const umask of [0, 0o022, 0o077]) {
    const [plain, key] = [join(folder, `plain-${umask}`), join(folder, `key-${umask}`)];
    await withUmask(umask, async () => {
      await writeDurably(plain, "x");
      await writeDurably(key, "x", { mode: 0o600 });
    });
    assert.deepEqual([await mode(plain), await mode(key)], [0o644, 0o600]);
  }
});

test("a symbolic link in the file's place is replaced, not followed", async () => {
  const target = join(folder, "target");
  await writeFile(target, "old");
  await symlink(target, join(folder, "link"));
  await writeDurably(join(folder, "link"), "new");
  assert.equal(await readFile(target, "utf8"), "old");
  assert.equal(await readFile(join(folder, "link"), "utf8"), "new");
});

test("a full disk leaves the old content and no temporary file", async () => {
  const small = join(folder, "small");
  await mkdir(small);
  await run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", small]);
  mounts.push(small);
  const path = join(small, "file");
  await writeDurably(path, "old");
  await assert.rejects(writeDurably(path, Buffer.alloc(100_000)), {
    kind: "host",
    message: new RegExp(`^write "${path}": ENOSPC`),
    hint: /full: free some space/,
  });
  assert.deepEqual(await readdir(small), ["file"]);
  assert.equal(await readFile(path, "utf8"), "old");
});

test("a folder in the file's place, or none around it, is a host error naming the path", async () => {
  const path = join(folder, "is-a-folder");
  await mkdir(join(path, "inside"), { recursive: true });
  await assert.rejects(writeDurably(path, "x"), { kind: "host", message: new RegExp(`^write "${path}"`) });
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith(".is-a-folder")),
    [],
  );
  await assert.rejects(writeDurably(join(folder, "absent", "x"), "x"), { kind: "host" });
});

test("folders are made with those above them; each new name is synced in the folder above", async () => {
  const path = join(folder, "a", "b", "c");
  const events = await diskEvents(() => withUmask(0o022, () => makeFolder(path)));
  const wanted = [join(folder, "a", "b"), join(folder, "a"), folder];
  assert.deepEqual(
    events.map(({ path: synced }) => synced),
    wanted,
  );
  assert.equal(await mode(path), 0o755);
  assert.deepEqual(await diskEvents(() => makeFolder(path)), []);
  await makeFolder(join(folder, "secret"), { mode: 0o700 });
  assert.equal(await mode(join(folder, "secret")), 0o700);
  await makeFolder(join(folder, "secret"), { mode: 0o755 });
  assert.equal(await mode(join(folder, "secret")), 0o700);
});

test("unsynced, it says which folders are still to be synced", async () => {
  const unsynced = new Set<string>();
  const path = join(folder, "d", "e", "f");
  await makeFolderUnsynced(path, unsynced);
  assert.deepEqual([...unsynced].sort(), [folder, join(folder, "d"), join(folder, "d", "e"), path].sort());
  const again = new Set<string>();
  await makeFolderUnsynced(path, again);
  assert.deepEqual([...again], [path]);
  const events = await diskEvents(() => syncFolders(unsynced));
  assert.deepEqual(events.map((event) => event.path).sort(), [...unsynced].sort());
});

test("made by several at once, no new name is forgotten", async () => {
  const unsynced = new Set<string>();
  const paths = ["1", "2", "3", "4", "5"].map((name) => join(folder, "g", "h", name));
  await Promise.all(paths.map((path) => makeFolderUnsynced(path, unsynced)));
  for (const wanted of [folder, join(folder, "g"), join(folder, "g", "h"), ...paths])
    assert.ok(unsynced.has(wanted), wanted);
});

test("a file in a folder's place, and a folder that is gone, are host errors naming the path", async () => {
  const file = join(folder, "a-file");
  await writeFile(file, "x");
  for (const work of [makeFolder(join(file, "x")), makeFolderUnsynced(file, new Set())])
    await assert.rejects(work, { kind: "host", message: new RegExp(`^write "${file}`) });
  const gone = join(folder, "gone");
  await assert.rejects(syncFolders([folder, gone]), {
    kind: "host",
    message: new RegExp(`^write "${gone}"`),
  });
});

test("what to do is said for what can be mended", () => {
  const hintFor = (code: string) => cannotWrite("/x", Object.assign(new Error(code), { code })).hint;
  assert.match(hintFor("ENOSPC") ?? "", /free some space/);
  assert.match(hintFor("EDQUOT") ?? "", /quota/);
  assert.match(hintFor("EROFS") ?? "", /read-only/);
  assert.match(hintFor("EACCES") ?? "", /as root/);
  assert.match(hintFor("EIO") ?? "", /has failed.*dmesg/);
  assert.equal(hintFor("EMFILE"), undefined);
});

test("what a kill left under a temporary name goes, and nothing else", async () => {
  const left = join(folder, "left");
  await mkdir(left);
  const others = ["registry.pem", ".registry.pem", ".registry.pem.0123456789abc", "x.0123456789ab"];
  for (const name of [...others, ".registry-key.pem.0123456789ab"]) await writeFile(join(left, name), "x");
  await removeTemporaries(left);
  assert.deepEqual((await readdir(left)).sort(), others.sort());
  await removeTemporaries(join(folder, "not there"));
});
