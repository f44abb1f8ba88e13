/** What every connection does with a command's stdin that comes as a stream. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Connection } from "../../src/trust/connection.ts";

/** What a command may take on the connection that is given, in milliseconds. */
export const limitMs = 3000;

/** A command gets what a stream gives, as it takes it. @param connection is closed in the end */
export async function assertGivesStreams(connection: Connection): Promise<void> {
  const bytes = randomBytes(5_000_000);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const pieces = async function* (pauseMs: number, count = 10) {
    for (let at = 0; at < count; at += 1) {
      await sleep(pauseMs);
      yield bytes.subarray((at * bytes.length) / count, ((at + 1) * bytes.length) / count);
    }
  };
  // Longer than the time that a command has, as long as it goes on.
  const { stdout } = await connection.exec("sha256sum", pieces((limitMs * 1.5) / 10));
  assert.equal(stdout.slice(0, 64), sha256);
  const early = await connection.exec("head -c 1 >/dev/null; exit 4", pieces(0, 1));
  assert.equal(early.code, 4);
  const failing = async function* () {
    yield bytes.subarray(0, 1000);
    throw new Error("the disk is gone");
  };
  await assert.rejects(connection.exec("cat >/dev/null", failing()), /the disk is gone/);
  assert.equal((await connection.exec("echo on")).stdout, "on\n");
  connection.close();
}
