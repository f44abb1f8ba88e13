/**
 * Writes what is made from other sources: the manifest's types and schema as TypeScript, from
 * manifests/drydock.schema.json; the kit's and the role's files, from src/trust/kit/templates/; and the command
 * reference, from the commands' own help.
 * With --check it writes nothing and fails where a file is not current.
 */
import { execFileSync } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { compile } from "json-schema-to-typescript";
import { commandReference } from "../src/cli/command-reference.ts";
import { commands } from "../src/cli/commands.ts";

const root = join(import.meta.dirname, "..");
const schemaFile = "manifests/drydock.schema.json";
const notice = `Made from ${schemaFile} by \`npm run generate\`; change that one.`;

/** The path of each generated file, from the repository's root, and its text. */
async function generate(): Promise<Map<string, string>> {
  const schema = JSON.parse(await readFile(join(root, schemaFile), "utf8"));
  const types = await compile(schema, "ManifestFile", {
    bannerComment: `/** A manifest as it is written. ${notice} */`,
    format: false,
    ignoreMinAndMaxItems: true,
  });
  const constant = `// biome-ignore-all lint/suspicious/noThenProperty: then is a keyword of JSON Schema

/** The schema, to be at hand in a single executable too. ${notice} */
export const manifestSchema = ${JSON.stringify(schema)} as const;`;
  const pjson = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  return new Map([
    ["src/bundle/manifest-types.ts", formatted(types, "manifest-types.ts")],
    ["src/bundle/manifest-schema.ts", formatted(constant, "manifest-schema.ts")],
    ["src/trust/kit/templates.ts", formatted(await templates(), "templates.ts")],
    ["docs/commands.md", await commandReference({ root, pjson, commands })],
  ]);
}

/** The files of a folder as one constant: path → text. */
async function templates(): Promise<string> {
  const folder = "src/trust/kit/templates";
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const constants = [];
  for (const path of paths.sort()) {
    const lines = (await readFile(path, "utf8")).split("\n").map((line) => JSON.stringify(line));
    constants.push(`${JSON.stringify(relative(join(root, folder), path))}: [${lines.join(",")}].join("\\n")`);
  }
  return `// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are a shell's

/** The files of ${folder}/, to be at hand in a single executable too. Made from them by \`npm run generate\`. */
export const templates = {${constants.join(",\n")}} as const;`;
}

function formatted(text: string, name: string): string {
  const biome = join(root, "node_modules/.bin/biome");
  return execFileSync(biome, ["format", `--stdin-file-path=${name}`], {
    cwd: root,
    input: text,
    encoding: "utf8",
  });
}

const check = process.argv.includes("--check");
for (const [path, text] of await generate()) {
  const current = await readFile(join(root, path), "utf8").catch(() => undefined);
  if (current === text) continue;
  if (check) {
    console.error(`${path} is not current: run \`npm run generate\``);
    process.exitCode = 1;
  } else {
    await writeFile(join(root, path), text);
    console.log(`wrote ${path}`);
  }
}
