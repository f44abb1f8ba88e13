/** The time in a bundle: the clock's, or the one that reproducible builds ask for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createdTime } from "../../src/bundle/created.ts";

test("without SOURCE_DATE_EPOCH it is now, in whole seconds", () => {
  const now = new Date("2026-07-08T09:10:11.987Z");
  assert.equal(createdTime(now, undefined), "2026-07-08T09:10:11Z");
});

test("SOURCE_DATE_EPOCH says it instead, read from the environment", (t) => {
  assert.equal(createdTime(new Date(), "0"), "1970-01-01T00:00:00Z");
  assert.equal(createdTime(new Date(), "1767323045"), "2026-01-02T03:04:05Z");
  const before = process.env.SOURCE_DATE_EPOCH;
  t.after(() => {
    if (before === undefined) delete process.env.SOURCE_DATE_EPOCH;
    else process.env.SOURCE_DATE_EPOCH = before;
  });
  process.env.SOURCE_DATE_EPOCH = "86400";
  assert.equal(createdTime(), "1970-01-02T00:00:00Z");
});

test("what is no number of seconds is a usage error that quotes it", () => {
  for (const epoch of ["", "-1", "1.5", "today", "1e9", " 1", "999999999999"]) {
    assert.throws(() => createdTime(new Date(), epoch), {
      kind: "usage",
      message: `read SOURCE_DATE_EPOCH: ${JSON.stringify(epoch)} is not a number of seconds`,
    });
  }
});
