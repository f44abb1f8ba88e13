import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";
import { unicodeMarks } from "../../src/cli/marks.ts";
import { liveLine, Progress } from "../../src/cli/progress-line.ts";
import { terminalReporter } from "../../src/cli/terminal-reporter.ts";
import { utf8 } from "./in-terminal.ts";

const MiB = 1024 ** 2;

/** A clock that the test moves, in milliseconds. */
function clock() {
  const at = { now: 0 };
  return { at, now: () => at.now };
}

function progressOf(done: number, total: number, seconds: number): Progress {
  const { at, now } = clock();
  const progress = new Progress("Download 12 images", now, () => {});
  progress.total(total);
  progress.detail("quay.io/prometheus/node-exporter:v1.8.2");
  at.now = seconds * 1000;
  progress.advance(done);
  return progress;
}

test("a line shows what fits into 80, into 120 and into 30 columns", () => {
  const progress = progressOf(1200 * MiB, 3072 * MiB, 6);
  const lines = [79, 119, 29].map((width) => liveLine(progress, width, 0, unicodeMarks));
  assert.deepEqual(lines, [
    "⠋ Download 12 images   39%   1.2 GiB of 3.0 GiB   200 MiB/s  10 s left",
    `⠋ Download 12 images   39%   1.2 GiB of 3.0 GiB   200 MiB/s  10 s left  ${"█".repeat(9)}${"░".repeat(15)}  quay.io/prometheus/n…`,
    "⠋ Download 12 images   39%",
  ]);
});

test("a line is never longer than its width", () => {
  const progress = progressOf(1200 * MiB, 3072 * MiB, 6);
  for (let width = 20; width < 200; width++) {
    assert.ok([...liveLine(progress, width, 0, unicodeMarks)].length <= width, String(width));
  }
});

test("the part that is done never goes backwards and never beyond 100 %", () => {
  const progress = progressOf(50, 100, 1);
  assert.equal(progress.fraction, 0.5);
  progress.total(1000);
  assert.equal(progress.fraction, 0.5);
  progress.advance(2000);
  assert.equal(progress.fraction, 1);
});

test("without a terminal there are plain lines: begin, progress now and then, end", async () => {
  const { at, now } = clock();
  let text = "";
  const screen = { write: (chunk: string) => (text += chunk) };
  const reporter = terminalReporter(screen, { now, env: utf8, plainEvery: 20 });
  const step = reporter.step("Place");
  step.total(1000 * MiB);
  await sleep(60); // nothing has happened: nothing is said
  at.now = 4000;
  step.advance(400 * MiB);
  await sleep(100);
  const pieces = ["alpine:3.20 3b1f0a2c4d5e", "b", "c"].map((name) => step.piece(name, 100));
  pieces[0]?.advance(1);
  await sleep(60);
  for (const piece of pieces) piece.end();
  at.now = 12_345;
  step.done("41 blobs");
  reporter.step("Run").failed();
  reporter.note("see you");
  reporter.close();
  const wanted = `Place ...
  Place:  40%  400 MiB of 1000 MiB  100 MiB/s  6 s left
  Place:  40%  400 MiB of 1000 MiB  100 MiB/s  6 s left  in flight: alpine:3.20 3b1f0a2c4d5e and 2 more
✓ Place  41 blobs  (12.3 s)
Run ...
✗ Run  (0.0 s)
see you
`;
  assert.equal(text, wanted);
});

test("without a terminal many hosts are a line now and then, too, where something has come of them", async () => {
  let text = "";
  const reporter = terminalReporter(
    { write: (chunk) => (text += chunk) },
    { env: utf8, plainEvery: 20, now: () => 0 },
  );
  const step = reporter.step("trust 300 clients");
  const pieces = ["web-1", "web-2"].map((name) => step.piece(name));
  pieces[0]?.end();
  step.trouble("web-1: refused: no");
  step.detail("0 of 300 done, 1 failed");
  await sleep(100);
  pieces[1]?.end();
  step.done("299 changed, 1 refused");
  reporter.close();
  assert.equal(
    text,
    `trust 300 clients ...
  trust 300 clients:  0 of 300 done, 1 failed  in flight: web-2
✓ trust 300 clients  299 changed, 1 refused  (0.0 s)
`,
  );
});

test("more steps than the terminal has rows do not push the finished lines away", () => {
  let text = "";
  const screen = { isTTY: true, columns: 80, rows: 5, write: (chunk: string) => (text += chunk) };
  const reporter = terminalReporter(screen, { env: utf8 });
  for (let step = 0; step < 9; step++) reporter.step(`Step ${step}`);
  text = "";
  reporter.note("still here");
  assert.equal(text.split("\n").length - 1, 1 + 4);
  reporter.close();
});

test("NO_COLOR and a plain locale are respected", () => {
  const shown = (env: NodeJS.ProcessEnv) => {
    let text = "";
    const reporter = terminalReporter(
      { isTTY: true, columns: 80, write: (chunk) => (text += chunk) },
      { env },
    );
    reporter.step("Run").done();
    reporter.close();
    return text;
  };
  assert.ok(shown(utf8).includes("\u001b[32m✓"));
  assert.match(shown({ ...utf8, NO_COLOR: "1" }), /✓ Run/);
  assert.ok(!shown({ ...utf8, NO_COLOR: "1" }).includes("m✓"));
  assert.match(shown({ TERM: "xterm", LC_ALL: "C", NO_COLOR: "1" }), /\+ Run/);
  assert.ok(!shown({ ...utf8, TERM: "dumb" }).includes("\u001b"));
});

test("notes and warnings break between words, and their last column stays free", () => {
  let text = "";
  const screen = { isTTY: true, columns: 40, rows: 24, write: (chunk: string) => (text += chunk) };
  const reporter = terminalReporter(screen, { env: utf8 });
  const words = "a registry that answers slowly is asked again later ".repeat(3).trim();
  reporter.note(words);
  reporter.warn(words);
  const lines = stripVTControlCharacters(text).trimEnd().split("\n");
  for (const line of lines) assert.ok(line.length < 40, line);
  assert.equal(lines.join(" "), `${words} Warning: ${words}`);
  text = "";
  const plain = terminalReporter({ write: (chunk: string) => (text += chunk) }, { env: utf8 });
  plain.warn(words);
  assert.equal(text, `Warning: ${words}\n`);
});

test("a rate says nothing of what went before in another way", () => {
  const { at, now } = clock();
  const progress = new Progress("write bundle", now, () => {});
  progress.total(1000 * MiB);
  progress.detail("checking what is there");
  at.now = 1000;
  progress.advance(500 * MiB);
  progress.detail("");
  at.now = 3000;
  progress.advance(20 * MiB);
  assert.equal(progress.rate, 10 * MiB);
});
