/**
 * Runs the tests: all of them, or those in the folders and files that are named, from the repository's root
 * (`npm test -- test/archive`). What begins with a dash goes to Node.js's test runner as it is
 * (`--test-name-pattern=stick`). It fails if a test fails, is skipped or never ends, if a file has no test,
 * and if anything is left behind.
 */
import { chmodSync, globSync, mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { finished } from "node:stream/promises";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { leftBehind } from "./left-behind.ts";
import { Outcome } from "./test-outcome.ts";

/**
 * Test files at once. Those that start engines wait more than they work, so that it is worth more than
 * the machine's processors; beyond that, what waits for an answer begins to wait too long.
 */
const concurrency = 3;
/** When nothing has ended for so long, something hangs that has no time limit of its own. */
const silenceMinutes = 10;

const given = process.argv.slice(2);
const flags = given.filter((word) => word.startsWith("-"));
const chosen = given.filter((word) => !word.startsWith("-"));
const files = (chosen.length > 0 ? chosen : ["test"]).flatMap((path) => {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const found = globSync(isFolder ? join(path, "**/*.test.ts") : path);
  if (found.length === 0) throw new Error(`find tests: there are none at ${JSON.stringify(path)}`);
  return found.map((file) => resolve(file));
});
// A longer text is mostly a longer run, and what takes long must not begin last.
const sizeOf = (file: string) => statSync(file).size;
files.sort((a, b) => sizeOf(b) - sizeOf(a));

// As bin/drydock.js has it.
process.env.UV_THREADPOOL_SIZE = "16";
// The marks of steps are others where the language has no Unicode.
process.env.LC_ALL = "C.UTF-8";
// Each test file is a program of its own: what V8 compiles of sources and dependencies is kept for the next.
process.env.NODE_COMPILE_CACHE = resolve("node_modules/.cache/tests");
const folder = mkdtempSync(join(tmpdir(), "drydock-test-"));
// Other users of the lab's hosts must get there, as to /tmp.
chmodSync(folder, 0o1777);
process.env.TMPDIR = folder;

// Until all is seen to be well.
process.exitCode = 1;
const hanging = new AbortController();
const watch = setTimeout(() => hanging.abort(), silenceMinutes * 60_000);
// A test that fails halfway may leave a server open, and must not keep the others' result from us.
const execArgv = ["--test-force-exit", "--test-timeout=300000", ...flags];
const tests = run({ files, concurrency, signal: hanging.signal, execArgv });
tests.on("test:complete", () => watch.refresh());
const outcome = new Outcome(tests);
const shown = tests.compose(new spec());
shown.pipe(process.stdout, { end: false });
await finished(shown);
clearTimeout(watch);

const left = await leftBehind(folder);
// With flags there may be files of which none was meant.
const wanted = flags.length === 0 ? files : [];
process.stdout.write(outcome.text(wanted, left));
if (outcome.isWell(wanted) && left.length === 0) process.exitCode = 0;
