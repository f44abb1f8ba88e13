// Runs the command line from the folder that holds it: `../dist/cli/` (a build) or `../src/cli/` (the sources).
import { existsSync, readFileSync, statSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

/** @param {string} folder @returns {Promise<number>} the exit code */
export async function start(folder) {
  const extension = folder.includes("/src/") ? ".ts" : ".js";
  const entrance = new URL(`${folder}main${extension}`, import.meta.url);
  if (!existsSync(entrance)) {
    console.error("drydock is not built here: run `npm run build`, or use bin/dev.js");
    return 2;
  }
  if (!folder.includes("/src/")) keepCompiled(fileURLToPath(new URL("../dist/", import.meta.url)));
  const { main } = await import(entrance.href);
  const { commands } = await import(new URL(`${folder}commands${extension}`, import.meta.url).href);
  const root = fileURLToPath(new URL("..", import.meta.url));
  const pjson = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return main(process.argv.slice(2), { root, pjson, commands });
}

/**
 * Keeps in the build what V8 makes of it and of the dependencies: a command then starts in two thirds of the
 * time. Not in the temporary folder, as Node.js would by itself: another user could have made it there, and
 * root would run what lies in it. Only the build's owner writes, so that no build is left with files of root's.
 * @param {string} build
 */
function keepCompiled(build) {
  if (statSync(build).uid === process.getuid?.()) enableCompileCache(`${build}.compiled`);
}
