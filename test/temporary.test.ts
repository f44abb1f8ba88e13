/** Temporary files, as processes end in every way. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { temporary } from "../src/temporary.ts";
import { run } from "./lab/process.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-temporary-"));
after(() => rm(folder, { recursive: true, force: true }));

const module = new URL("../src/temporary.ts", import.meta.url).href;

/** Runs this with `file` and `tree` made and registered as temporary. @returns which are still there */
async function left(script: string): Promise<string[]> {
  const names = ["file", "tree"];
  await mkdir(join(folder, "tree", "below"), { recursive: true });
  await writeFile(join(folder, "tree", "below", "x"), "x");
  await writeFile(join(folder, "file"), "x");
  const head = `import { temporary } from ${JSON.stringify(module)};
    import { renameSync, rmSync } from "node:fs";
    process.chdir(${JSON.stringify(folder)});
    const [file, tree] = ${JSON.stringify(names)}.map((name) => temporary(process.cwd() + "/" + name));`;
  await run(process.execPath, ["--input-type=module-typescript", "-e", `${head}\n${script}`], {
    mayFail: true,
  });
  return names.filter((name) => existsSync(join(folder, name)));
}

test("they are removed when the process ends: by itself, by exit, by an error", async () => {
  assert.deepEqual(await left(""), []);
  assert.deepEqual(await left("process.exit(3);"), []);
  assert.deepEqual(await left("throw new Error();"), []);
});

test("one that is kept stays, the others go", async () => {
  assert.deepEqual(await left("file.keep();"), ["file"]);
  assert.deepEqual(await left("file.keep(); tree.keep();"), ["file", "tree"]);
});

test("one that became something else by a rename is not touched, nor what has its old name now", async () => {
  const script = "renameSync(file.path, 'final'); file.keep(); renameSync('final', file.path);";
  assert.deepEqual(await left(script), ["file"]);
});

test("a kill -9 leaves them: the next run must look", async () => {
  assert.deepEqual(await left("process.kill(process.pid, 'SIGKILL');"), ["file", "tree"]);
});

test("remove takes it away at once, twice is as well, and the process stops listening", async () => {
  const before = process.listenerCount("exit");
  const path = join(folder, "here");
  await mkdir(join(path, "below"), { recursive: true });
  const one = temporary(path);
  const other = temporary(join(folder, "never made"));
  assert.equal(process.listenerCount("exit"), before + 1);
  await one.remove();
  assert.ok(!existsSync(path));
  await one.remove();
  assert.equal(process.listenerCount("exit"), before + 1);
  await other.remove();
  assert.equal(process.listenerCount("exit"), before);
});
