/** Makes dist/ from src/ unless it is newer. One process at a time: see drydock.ts. */
import { readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../lab/process.ts";

const root = join(import.meta.dirname, "../..");
const entrance = "cli/main.js";

const before = new Date();
if ((await newest()) >= (await made())) await build();

async function build(): Promise<void> {
  // Made beside it and put in its place at once: others may be running what is there.
  const fresh = join(root, `dist.new-${process.pid}`);
  const old = join(root, `dist.old-${process.pid}`);
  try {
    const args = ["-p", join(root, "tsconfig.build.json"), "--outDir", fresh];
    await run(join(root, "node_modules/.bin/tsc"), args, { cwd: root });
    // A source that was changed meanwhile must count as newer.
    await utimes(join(fresh, entrance), before, before);
    await rename(join(root, "dist"), old).catch(() => {});
    await rename(fresh, join(root, "dist"));
  } finally {
    for (const folder of [fresh, old]) await rm(folder, { recursive: true, force: true });
  }
}

/** When the newest of the sources was changed, in milliseconds. Folders count: they change when a file goes. */
async function newest(): Promise<number> {
  const src = join(root, "src");
  const inside = await readdir(src, { recursive: true });
  const paths = [src, ...inside.map((name) => join(src, name))];
  for (const name of ["tsconfig.json", "tsconfig.build.json", "package-lock.json"])
    paths.push(join(root, name));
  const times = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)));
  return Math.max(...times.map((one) => one?.mtimeMs ?? 0));
}

/** When the build was made; 0 if there is none. */
async function made(): Promise<number> {
  return (await stat(join(root, "dist", entrance)).catch(() => undefined))?.mtimeMs ?? 0;
}
