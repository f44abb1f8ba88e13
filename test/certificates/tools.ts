/** Runs the stock tools that certificates are checked with, on files in a folder of their own. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";

/** A temporary folder that goes with the test in which this is called, or with the whole file; not for hooks. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "drydock-certificates-"));
  after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Exit code and both outputs as one text. */
export function run(
  command: string,
  parameters: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    execFile(command, parameters, { ...options, encoding: "utf8" }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), text: stdout + stderr });
    });
  });
}

/** The output of a command that must succeed. */
export async function output(command: string, parameters: string[], cwd?: string): Promise<string> {
  const { code, text } = await run(command, parameters, cwd === undefined ? {} : { cwd });
  assert.equal(code, 0, `${command} ${parameters.join(" ")}: ${text}`);
  return text;
}

export async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
}

/** For assert.throws and assert.rejects. */
export function drydockError(kind: ErrorKind, message: RegExp, hint?: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof DrydockError, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, message);
    if (hint !== undefined) assert.match(error.hint ?? "", hint);
    return true;
  };
}
