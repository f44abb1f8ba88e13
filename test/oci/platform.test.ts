import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatPlatform,
  matchesPlatform,
  type Platform,
  parsePlatform,
  selectPlatform,
} from "../../src/oci/platform.ts";

const matches = (wanted: string, have: string): boolean =>
  matchesPlatform(parsePlatform(wanted), parsePlatform(have));

test("a platform is the same with its default variant and without", () => {
  assert.ok(matches("linux/arm64", "linux/arm64/v8"));
  assert.ok(matches("linux/arm64/v8", "linux/arm64"));
  assert.ok(matches("linux/aarch64", "linux/arm64"));
  assert.ok(matches("linux/arm", "linux/arm/v7"));
  assert.ok(matches("linux/x86_64", "linux/amd64"));
  assert.ok(!matches("linux/amd64", "linux/amd64/v3"));
  assert.ok(!matches("linux/arm/v7", "linux/arm/v6"));
  assert.ok(!matches("linux/amd64", "windows/amd64"));
});

test("an arm falls back to the nearest older variant, and only an arm", () => {
  const there = ["linux/arm/v5", "linux/arm/v6", "linux/amd64/v2"].map(parsePlatform);
  const select = (wanted: string): string[] =>
    selectPlatform(there, (have: Platform) => have, parsePlatform(wanted)).map(formatPlatform);
  assert.deepEqual(select("linux/arm/v7"), ["linux/arm/v6"]);
  assert.deepEqual(select("linux/arm/v5"), ["linux/arm/v5"]);
  assert.deepEqual(select("linux/amd64/v3"), []);
});

test("what is no platform is refused", () => {
  for (const text of ["linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", ""]) {
    assert.throws(() => parsePlatform(text), { kind: "input" }, text);
  }
});
