/** What the writer tells of the blobs that are in flight, and what the journal hears of slow ones. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { planArchive } from "../../src/archive/archive-plan.ts";
import { journalOf, readJournal } from "../../src/archive/journal.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { makeIndex } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-in-flight-"));
after(() => rm(folder, { recursive: true }));

const mebi = 1024 * 1024;
const large = randomBytes(4 * mebi);
const plan = planArchive({ index: makeIndex([Buffer.from("{}"), large]), readme: "", images: [] });

async function* chunks(bytes: Buffer, pause = 0): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += mebi) {
    yield bytes.subarray(at, at + mebi);
    await sleep(pause);
  }
}

test("a blob is in flight while it is written, each time; what has to come again is told", async () => {
  const told: string[] = [];
  let sum = 0;
  let again = 0;
  const writer = await ArchiveWriter.create(join(folder, "told.tar"), plan, {
    force: false,
    mode: 0o644,
    advance: (bytes) => {
      assert.ok(bytes > 0);
      sum += bytes;
    },
    again: (bytes) => {
      again += bytes;
    },
    piece: ({ digest, size }, where) => {
      assert.equal(digest, digestOf(large));
      let done = 0;
      told.push(`${where} begins, of ${size}`);
      return {
        advance: (bytes) => {
          done += bytes;
        },
        detail: () => undefined,
        end: () => told.push(`ends with ${done}, sum ${sum - again}`),
      };
    },
  });
  const wrong = Buffer.from(large);
  wrong.writeUInt8(wrong.readUInt8(3 * mebi) ^ 1, 3 * mebi);
  await assert.rejects(writer.write(digestOf(large), chunks(wrong), "a"), { kind: "integrity" });
  await assert.rejects(writer.write(digestOf(large), chunks(large.subarray(mebi)), "b"), {
    kind: "integrity",
  });
  await writer.write(digestOf(large), chunks(large), "c");
  await writer.write(digestOf(large), chunks(large), "nobody wants it again");
  await writer.close();
  const size = 4 * mebi;
  assert.deepEqual(told, [
    `a begins, of ${size}`,
    `ends with ${size}, sum 0`,
    `b begins, of ${size}`,
    `ends with ${3 * mebi}, sum 0`,
    `c begins, of ${size}`,
    `ends with ${size}, sum ${size}`,
  ]);
});

test("of a blob that comes slowly the journal knows after a second", async () => {
  const path = join(folder, "slow.tar");
  const options = { force: false, mode: 0o644, advance: () => {} };
  const writer = await ArchiveWriter.create(path, plan, options);
  async function* broken() {
    yield* chunks(large.subarray(0, 3 * mebi), 600);
    throw new Error("the line broke");
  }
  await assert.rejects(writer.write(digestOf(large), broken(), "upstream"), /the line broke/);
  await writer.close();
  const journal = await readJournal(journalOf(path));
  const have = journal?.entries.get(digestOf(large))?.have ?? 0;
  assert.ok(have >= mebi, `${have} bytes`);
});
