/** SHA256SUMS: what sha256sum reads, and nothing else. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { formatSums, parseSums } from "../../src/archive/sums.ts";
import { digestOf } from "../../src/oci/digest.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-sums-"));
after(() => rm(folder, { recursive: true }));

const files = [
  { name: "bundle.json", bytes: Buffer.from("{}") },
  { name: "README.txt", bytes: Buffer.alloc(0) },
];
const text = formatSums(files);

test("sha256sum writes the same, and checks it", async () => {
  for (const { name, bytes } of files) await writeFile(join(folder, name), bytes);
  const written = execFileSync("sha256sum", ["bundle.json", "README.txt"], { cwd: folder, encoding: "utf8" });
  assert.equal(text, written);
});

test("what was written is read again", () => {
  assert.deepEqual(
    parseSums(text),
    files.map(({ name, bytes }) => ({ name, digest: digestOf(bytes) })),
  );
});

test("any other form is an integrity error", () => {
  const hex = "0".repeat(64);
  const cases = {
    nothing: "",
    "no last line end": text.slice(0, -1),
    "an empty line": `${text}\n`,
    "an empty line in between": text.replace("\n", "\n\n"),
    "one space": text.replace("  ", " "),
    "binary mode": text.replace("  ", " *"),
    "upper case": text.toUpperCase(),
    "a path": `${hex}  ../etc/passwd\n`,
    "an escaped name": `\\${hex}  a\\nb\n`,
    "a carriage return": text.replaceAll("\n", "\r\n"),
    "a short digest": text.slice(1),
    "a name twice": text + text,
  };
  for (const [name, bad] of Object.entries(cases))
    assert.throws(() => parseSums(bad), { kind: "integrity", message: /^read SHA256SUMS: / }, name);
});
