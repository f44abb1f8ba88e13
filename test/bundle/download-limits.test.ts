import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DownloadLimits } from "../../src/bundle/download-limits.ts";

const large = 5 * 1024 * 1024;

/** Begins downloads that never end by themselves. @returns what has begun, and what ends all of them */
function start(limits: DownloadLimits): {
  begun: string[];
  add(name: string, host: string, size: number): void;
  finish(): void;
} {
  const begun: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    begun,
    add: (name, host, size) => {
      void limits.run(host, size, async () => {
        begun.push(name);
        await promise;
      });
    },
    finish: resolve,
  };
}

test("small blobs don't wait behind large ones", async () => {
  const { begun, add, finish } = start(new DownloadLimits(8));
  for (let at = 0; at < 9; at += 1) add("large", "a", large);
  for (let at = 0; at < 3; at += 1) add("small", "a", 100);
  await sleep(10);
  assert.deepEqual(begun, [...Array(4).fill("large"), ...Array(3).fill("small")]);
  finish();
  await sleep(10);
  assert.equal(begun.length, 12);
});

test("one host does not keep another waiting", async () => {
  const { begun, add, finish } = start(new DownloadLimits(12));
  for (let at = 0; at < 9; at += 1) add("a", "a", large);
  for (let at = 0; at < 9; at += 1) add("b", "b", large);
  await sleep(10);
  assert.deepEqual(begun.toSorted(), ["a", "a", "a", "a", "b", "b", "b", "b"]);
  finish();
});

test("one at a time is one at a time", async () => {
  const { begun, add, finish } = start(new DownloadLimits(1));
  add("large", "a", large);
  add("small", "a", 100);
  add("other", "b", 100);
  await sleep(10);
  assert.deepEqual(begun, ["large"]);
  finish();
});
