/** The rules of ARCHITECTURE.md that can be read off the sources: who imports whom, and who may print. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path/posix";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");

/** What each folder of src/ may import besides itself and the files that stand in src/ itself. */
const below: Record<string, string[]> = {
  commands: ["cli", "bundle", "install", "trust", "archive", "oci", "certificates", "engine", "site"],
  cli: ["bundle", "install", "trust", "archive", "oci", "certificates", "engine", "site"],
  bundle: ["archive", "oci", "certificates", "engine"],
  install: ["archive", "oci", "certificates", "engine", "site"],
  trust: ["archive", "oci", "certificates", "engine", "site"],
  site: ["archive", "oci"],
  archive: ["oci"],
  engine: ["oci"],
  certificates: [],
  oci: [],
};

/** The command table is the one place that knows the commands. */
const commandTable = "src/cli/commands.ts";

interface Source {
  /** "src/archive/reader.ts" */
  path: string;
  /** without comments */
  code: string;
  /** what it imports, with or without a use: paths from the repository's root, or package names */
  imports: string[];
}

async function readSources(): Promise<Source[]> {
  const names = await readdir(join(root, "src"), { recursive: true });
  const paths = names.filter((name) => name.endsWith(".ts")).map((name) => join("src", name));
  return Promise.all(paths.map(readSource));
}

async function readSource(path: string): Promise<Source> {
  const text = await readFile(join(root, path), "utf8");
  const code = text.replace(/^\s*\/\*[\s\S]*?\*\//gm, "").replace(/^\s*\/\/.*$/gm, "");
  const found = code.matchAll(
    /^(?:import|export)\b[^;"]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/gm,
  );
  const imports = [...found]
    .map(([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? "")
    .map((name) => (name.startsWith(".") ? join(dirname(path), name) : name));
  return { path, code, imports };
}

/** "archive" for src/archive/reader.ts, "" for a file that stands in src/ itself */
function folderOf(path: string): string {
  const folder = dirname(relative("src", path));
  return folder === "." ? "" : (folder.split("/")[0] ?? "");
}

const sources = await readSources();
const inside = sources.flatMap(({ path, imports }) =>
  imports.filter((name) => name.includes("/") && name.endsWith(".ts")).map((to) => ({ from: path, to })),
);

test("the sources are found, with what they import", () => {
  const reader = sources.find(({ path }) => path === "src/archive/reader.ts");
  assert.ok(reader);
  assert.ok(reader.imports.includes("src/oci/digest.ts"), "a type that is imported");
  assert.ok(reader.imports.includes("src/archive/layout.ts"), "an import over several lines");
  assert.ok(inside.length > 200);
});

test("imports go down only", () => {
  const wrong = inside.filter(({ from, to }) => {
    if (!to.startsWith("src/")) return true;
    const [above, under] = [folderOf(from), folderOf(to)];
    if (above === under || under === "") return false;
    if (from === commandTable && under === "commands") return false;
    return !below[above]?.includes(under);
  });
  assert.deepEqual(
    wrong.map(({ from, to }) => `${from} imports ${to}`),
    [],
  );
});

test("every folder has its place in the rule", () => {
  const folders = new Set(sources.map(({ path }) => folderOf(path)).filter((folder) => folder !== ""));
  assert.deepEqual([...folders].sort(), Object.keys(below).sort());
});

test("files in src itself import nothing but one another", () => {
  const wrong = inside.filter(({ from, to }) => folderOf(from) === "" && folderOf(to) !== "");
  assert.deepEqual(wrong, []);
});

test("bundle, install and trust never import one another", () => {
  const sides = ["bundle", "install", "trust"];
  for (const side of sides)
    for (const other of sides) assert.ok(!below[side]?.includes(other) || side === other);
});

test("library code never prints, exits or leaves its folder", () => {
  const never = /\bconsole\s*\.|\bprocess\s*\.\s*(?:exit\s*\(|chdir|abort)/;
  const commandLine = /\bprocess\s*\.\s*(?:stdout|stderr|exitCode)\b/;
  const wrong = sources.filter(
    ({ path, code }) =>
      never.test(code) || (commandLine.test(code) && !["cli", "commands"].includes(folderOf(path))),
  );
  assert.deepEqual(
    wrong.map(({ path }) => path),
    [],
  );
});

test("the packages that the sources import are the dependencies", async () => {
  const { dependencies } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const used = sources
    .flatMap(({ imports }) => imports)
    .filter((name) => !name.startsWith("node:") && !name.startsWith("src/"))
    .map((name) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0]);
  assert.deepEqual([...new Set(used)].sort(), Object.keys(dependencies).sort());
});
