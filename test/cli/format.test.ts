import assert from "node:assert/strict";
import { test } from "node:test";
import { columns, count, formatBytes, formatDuration, formatRate, printable } from "../../src/cli/format.ts";

test("bytes are shown in powers of 1024", () => {
  const shown = [0, 1023, 1024, 150 * 1024, 1024 ** 2 - 1, 3 * 1024 ** 3, 8.5 * 1024 ** 4].map(formatBytes);
  assert.deepEqual(shown, ["0 B", "1023 B", "1.0 KiB", "150 KiB", "1.0 MiB", "3.0 GiB", "8.5 TiB"]);
  assert.equal(formatRate(210 * 1024 ** 2), "210 MiB/s");
});

test("durations are shown in their two largest units", () => {
  const shown = [0.04, 12.34, 59.96, 75, 120, 3600, 3700, 100_000].map(formatDuration);
  const wanted = ["0.0 s", "12.3 s", "1 min", "1 min 15 s", "2 min", "1 h", "1 h 1 min", "1 d 3 h"];
  assert.deepEqual(shown, wanted);
});

test("nouns follow their numbers", () => {
  assert.equal(
    `${count(1, "image")}, ${count(0, "blob")}, ${count(2, "entry", "entries")}`,
    "1 image, 0 blobs, 2 entries",
  );
});

test("columns are aligned, whatever their colours", () => {
  const rows = [
    ["\u001b[31malpine\u001b[0m", "7.5 MiB", "x"],
    ["é", "12 B", ""],
  ];
  const wanted = "  \u001b[31malpine\u001b[0m  7.5 MiB  x\n  é          12 B";
  assert.equal(columns(rows, { right: [1], indent: 2 }), wanted);
});

test("text from elsewhere cannot steer the terminal", () => {
  assert.equal(printable("a\u001b[2Jb\rc\nd\u202ee"), "ab c d e");
  assert.equal(printable("a\nb\u0007", true), "a\nb ");
});
