/** Files with a passphrase in their first line. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readPassphraseFile } from "../../src/cli/passphrase.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-passphrase-"));
after(() => rm(folder, { recursive: true }));

async function read(text: string): Promise<string> {
  const file = join(folder, "pass");
  await writeFile(file, text);
  return readPassphraseFile(file);
}

test("it is the first line, as it stands there, whatever ends it", async () => {
  assert.equal(await read("correct horse"), "correct horse");
  assert.equal(await read("correct horse\n"), "correct horse");
  assert.equal(await read("correct horse\r\nsecond\r\n"), "correct horse");
  assert.equal(await read("  spaces count \n"), "  spaces count ");
  assert.equal(await read("grüße\n"), "grüße");
});

test("an empty first line, or no file, is an input error that names the file and never its content", async () => {
  for (const text of ["", "\n", "\r\n", "\nsecret\n"]) {
    await assert.rejects(read(text), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "input");
      assert.match(error.message, /pass": its first line is empty/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  }
  for (const path of [join(folder, "absent"), folder])
    await assert.rejects(readPassphraseFile(path), {
      kind: "input",
      message: new RegExp(`read passphrase file "${path}": `),
    });
});
