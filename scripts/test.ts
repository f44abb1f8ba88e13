/**
 * Runs the tests: all of them, or those in the folders and files that are named, from the repository's root
 * (`npm test -- test/archive`). What begins with a dash goes to Node.js's test runner as it is.
 */
import { statSync } from "node:fs";
import { join } from "node:path";

/**
 * Test files at once. Those that start engines wait more than they work, so that it is worth more than
 * the machine's processors; beyond that, what waits for an answer begins to wait too long.
 */
const concurrency = 3;

const given = process.argv.slice(2);
const flags = given.filter((word) => word.startsWith("-"));
const chosen = given.filter((word) => !word.startsWith("-"));
const patterns = (chosen.length > 0 ? chosen : ["test"]).map((path) =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, "**/*.test.ts") : path,
);

const words = [
  process.execPath,
  "--test",
  `--test-concurrency=${concurrency}`,
  ...(flags.some((flag) => flag.startsWith("--test-reporter")) ? [] : ["--test-reporter=spec"]),
  // A test that fails halfway may leave a server open, and must not keep the others' result from us.
  "--test-force-exit",
  "--test-timeout=300000",
  ...flags,
  ...patterns,
];
// As bin/drydock.js has it; libuv reads it once. From here on this process is the test runner.
if (process.execve === undefined) throw new Error("the tests need a Node.js on Linux");
process.execve(process.execPath, words, { ...process.env, UV_THREADPOOL_SIZE: "16" });
