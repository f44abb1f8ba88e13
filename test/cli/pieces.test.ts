/** Which of the pieces in flight are shown, in which rows, and how. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { asciiMarks, cutFront, unicodeMarks } from "../../src/cli/marks.ts";
import { Pieces } from "../../src/cli/pieces.ts";
import { Progress } from "../../src/cli/progress-line.ts";

const MiB = 1024 ** 2;

/** Pieces, a clock in milliseconds, and what a terminal of 80 columns shows: the names, or the marks. */
function setUp() {
  const at = { now: 0 };
  const pieces = new Pieces(() => at.now);
  const lines = (most = 10, rows = 4, width = 79) => pieces.lines(most, rows, width, unicodeMarks);
  const names = (most?: number, rows?: number) => lines(most, rows).map((line) => line.slice(30));
  return { at, pieces, lines, names };
}

test("a line has what is done, the size and the name, as far as they fit", () => {
  const { at, pieces, lines } = setUp();
  pieces.begin("registry.lab.example/library/postgres:16 2d2e7391174b", 266 * MiB).advance(120 * MiB);
  pieces.begin("quay.io/a-rather-long-name-of-a-repository-without-end/x:1 61bd5bc3f03f", 5).advance(5);
  at.now = 1000;
  assert.deepEqual(lines(), [
    "   45%   120 MiB of 266 MiB   …/library/postgres:16 2d2e7391174b",
    "  100%       5 B of 5 B       …ame-of-a-repository-without-end/x:1 61bd5bc3f03f",
  ]);
  assert.deepEqual(lines(10, 1, 119), [
    "   45%   120 MiB of 266 MiB   registry.lab.example/library/postgres:16 2d2e7391174b",
    "                              and 1 more",
  ]);
  assert.deepEqual(lines(10, 1, 39), ["   45%  …/postgres:16 2d2e7391174b", "        and 1 more"]);
  for (let width = 20; width < 150; width++) {
    for (const line of lines(10, 4, width)) assert.ok([...line].length <= width, `${width}: ${line}`);
  }
});

test("what is in flight for a moment only is not shown", () => {
  const { at, pieces, names } = setUp();
  const small = pieces.begin("small", 5);
  pieces.begin("large", 5);
  at.now = 290;
  assert.deepEqual(names(), []);
  small.end();
  at.now = 310;
  assert.deepEqual(names(), ["large"]);
});

test("a piece keeps its row until it ends, and the next one takes that row", () => {
  const { at, pieces, names, lines } = setUp();
  const [a, b, c, d] = ["a", "b", "c", "d", "e", "f"].map((name) => pieces.begin(name, 5));
  at.now = 400;
  assert.deepEqual(names(), ["a", "b", "c", "d", "and 2 more"]);
  b?.advance(5);
  b?.end();
  assert.deepEqual(names(), ["a", "e", "c", "d", "and 1 more"]);
  a?.end();
  a?.end();
  assert.deepEqual(names(), ["f", "e", "c", "d"]);
  c?.advance(5);
  c?.end();
  // Nobody takes the row: the ones below stay where they are.
  at.now = 60_000;
  assert.equal(lines()[2], "     ✓       5 B of 5 B       c");
  assert.deepEqual(names(), ["f", "e", "c", "d"]);
  // At the end of the list rows go, but not at once.
  d?.end();
  assert.equal(lines().length, 4);
  at.now += 1100;
  assert.deepEqual(names(), ["f", "e"]);
});

test("a low terminal shows fewer, and where there is no room at all none", () => {
  const { at, pieces, names } = setUp();
  for (const name of ["a", "b", "c"]) pieces.begin(name, 5);
  at.now = 400;
  assert.deepEqual(names(10, 2), ["a", "b", "and 1 more"]);
  assert.deepEqual(names(2, 2), ["a", "b"]);
  assert.deepEqual(names(1, 4), ["a"]);
  assert.deepEqual(names(0, 4), []);
  assert.deepEqual(names(5, 0), []);
  assert.deepEqual(names(), ["a", "b", "c"]);
});

test("a piece that has failed leaves its row empty, and the step's sum does not go back", () => {
  const at = { now: 0 };
  const progress = new Progress(
    "write bundle",
    () => at.now,
    () => {},
  );
  progress.total(100);
  const show = () => progress.pieces.lines(9, 4, 79, asciiMarks);
  const first = progress.piece("first", 100);
  const other = progress.piece("other", 100);
  first.advance(80);
  progress.advance(80);
  at.now = 400;
  assert.match(show()[0] ?? "", /^ {3}80%/);
  first.end();
  assert.deepEqual(
    show().map((line) => line.slice(0, 6)),
    ["", "    0%"],
  );
  const again = progress.piece("first", 100);
  again.advance(10);
  at.now = 800;
  assert.match(show()[0] ?? "", /^ {3}10%/);
  assert.equal(progress.doneBytes, 80);
  assert.equal(progress.fraction, 0.8);
  other.end();
});

test("a log names the first, and how many more there are", () => {
  const { pieces } = setUp();
  assert.equal(pieces.summary(), "");
  const first = pieces.begin("a\u001b[2J", 5);
  assert.equal(pieces.summary(), "in flight: a");
  for (const name of ["b", "c"]) pieces.begin(name, 5);
  assert.equal(pieces.summary(), "in flight: a and 2 more");
  first.end();
  assert.equal(pieces.summary(), "in flight: b and 1 more");
});

test("a name that is cut begins at a slash, if one is near", () => {
  assert.equal(cutFront("a/b:1 3b", 8, unicodeMarks), "a/b:1 3b");
  assert.equal(cutFront("host.example/a/b:1 3b1f", 14, unicodeMarks), "…/a/b:1 3b1f");
  assert.equal(cutFront("a-long-repository/b:1", 14, asciiMarks), "~epository/b:1");
});
