/** What stays of a build that ended before it had a plan, and what is said of it. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { journalOf, noteReading, readReadings } from "../../src/archive/journal.ts";
import { openKeptBlobs } from "../../src/archive/kept-blobs.ts";
import { afterFailure, beginTry } from "../../src/bundle/tries.ts";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-tries-"));
after(() => rm(folder, { recursive: true }));
const output = join(folder, "site.tar");
const manifest = Buffer.from('{"schemaVersion": 2}');
const digest = digestOf(manifest);
let said: string[];
let whenInterrupted: () => Promise<string>;

beforeEach(async () => {
  for (const name of await readdir(folder)) await rm(join(folder, name));
  said = [];
});

async function begin(restart = false) {
  const reporter = {
    ...silentReporter,
    note: (text: string) => said.push(text),
    whenInterrupted: (text: typeof whenInterrupted) => {
      whenInterrupted = text;
    },
  };
  return await beginTry(output, { force: false, restart }, reporter);
}

test("a plan that fails: what was read for the plan is kept, and told; --restart throws it away", async () => {
  const { created } = await begin();
  assert.match(await whenInterrupted(), /^Nothing was fetched yet/);
  await noteReading(journalOf(output), digest, manifest);
  const kept = '20 bytes are kept in "site.tar.partial.journal"';
  assert.ok((await whenInterrupted()).startsWith(kept));
  const error = await afterFailure(output, new DrydockError("upstream", "busy", { hint: "Wait." }));
  assert.ok(error instanceof DrydockError);
  assert.equal(
    error.hint,
    `Wait.\n${kept}; the same command goes on with it, with --restart it begins anew.`,
  );

  assert.equal((await begin()).created, created);
  assert.match(said[0] ?? "", /going on with the try of .*: 20 bytes are there/);
  const again = await openKeptBlobs(output, undefined);
  assert.equal(again.isEmpty, false);
  assert.deepEqual(await again.read(digest, 100), manifest);
  assert.equal(await again.read(digest, 10), undefined);
  await begin(true);
  assert.equal((await openKeptBlobs(output, undefined)).isEmpty, true);
});

test("where nothing was read, nothing stays, and the error is what it was", async () => {
  await begin();
  const wrong = new DrydockError("upstream", "no such tag");
  assert.equal(await afterFailure(output, wrong), wrong);
  assert.deepEqual(await readdir(folder), []);
});

test("readings that are torn or wrong count for nothing", async () => {
  await writeFile(journalOf(output), `{"created":"2001-02-03T04:05:06Z"}\n{"digest":"${digest}","byt`);
  const other = digestOf("other");
  await noteReading(journalOf(output), other, manifest);
  assert.deepEqual([...(await readReadings(journalOf(output))).keys()], [other]);
  assert.equal(await (await openKeptBlobs(output, undefined)).read(other, 100), undefined);
  assert.equal((await begin()).created, "2001-02-03T04:05:06Z");
});
