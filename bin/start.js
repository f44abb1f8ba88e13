// Runs the command line from the folder that holds it: `../dist/cli/` (a build) or `../src/cli/` (the sources).
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** @param {string} folder @returns {Promise<number>} the exit code */
export async function start(folder) {
  const extension = folder.includes("/src/") ? ".ts" : ".js";
  const entrance = new URL(`${folder}main${extension}`, import.meta.url);
  if (!existsSync(entrance)) {
    console.error("drydock is not built here: run `npm run build`, or use bin/dev.js");
    return 2;
  }
  const { main } = await import(entrance.href);
  const { commands } = await import(new URL(`${folder}commands${extension}`, import.meta.url).href);
  const root = fileURLToPath(new URL("..", import.meta.url));
  const pjson = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return main(process.argv.slice(2), { root, pjson, commands });
}
