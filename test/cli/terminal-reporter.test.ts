import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";
import { unicodeMarks } from "../../src/cli/marks.ts";
import { liveLine, Progress } from "../../src/cli/progress-line.ts";
import { terminalReporter } from "../../src/cli/terminal-reporter.ts";

const program = join(import.meta.dirname, "frame.ts");
const MiB = 1024 ** 2;
const utf8 = { LC_ALL: "C.UTF-8", TERM: "xterm" };

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
  at.now = 12_345;
  step.done("41 blobs");
  reporter.step("Run").failed();
  reporter.note("see you");
  reporter.close();
  const wanted = `Place ...
  Place:  40%  400 MiB of 1000 MiB  100 MiB/s  6 s left
✓ Place  41 blobs  (12.3 s)
Run ...
✗ Run  (0.0 s)
see you
`;
  assert.equal(text, wanted);
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

for (const width of [80, 120]) {
  test(`on a real terminal of ${width} columns nothing wraps and the finished steps remain`, async () => {
    const screens = await inTerminal(width, `${program} work a --steps`);
    const running = screens.find((screen) => / of 2\.9 GiB/.test(screen)) ?? "";
    const lines = running.split("\n");
    assert.equal(lines.filter((line) => line.includes("Download 12 images")).length, 1, running);
    assert.ok(lines.every((line) => [...line].length < width));
    assert.equal(/layer 3/.test(running), false);
    const final = (screens.at(-1) ?? "").replaceAll(/\(\d+\.\d s\)/g, "(… s)");
    const wanted = `Warning: half of it is done
✓ Check  nothing wrong  (… s)
✓ Download 12 images  12 images, 3.0 GiB  (… s)
worked on a
130 or less: 0`;
    assert.equal(final, wanted);
  });
}

test("the cursor is given back, also after an interruption", () => {
  for (const command of [
    `${program} work a --steps`,
    `${program} work --wait & sleep 1.5; kill -INT $!; wait $!`,
  ]) {
    const raw = execFileSync("script", ["-qec", `${process.execPath} ${command} || true`, "/dev/null"], {
      env: { ...process.env, ...utf8, SHELL: "/bin/sh" },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    assert.ok(raw.includes("\u001b[?25l"), command);
    assert.ok(raw.lastIndexOf("\u001b[?25h") > raw.lastIndexOf("\u001b[?25l"), command);
  }
});

test("a secret is asked for at the terminal, and not shown", async () => {
  const screens = await inTerminal(80, `${program} ask </dev/null`, ["pässx", "BSpace", "Enter"]);
  const final = screens.at(-1) ?? "";
  assert.equal(final, 'Passphrase:\nanswer: "päss"\n130 or less: 0');
  assert.ok(screens.every((screen) => !/^Passphrase: \S/m.test(screen)));
});

test("Ctrl-C at the question ends with 130", async () => {
  const screens = await inTerminal(80, `${program} ask`, ["abc", "C-c"]);
  assert.match(screens.at(-1) ?? "", /^Passphrase:\nInterrupted: no answer was given\n130 or less: 130$/);
});

test("without a terminal a secret cannot be asked for: wrong usage", () => {
  const { status, stderr } = spawnSync("setsid", ["-w", process.execPath, program, "ask"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /^Error: ask "Passphrase:": there is no terminal to ask at\n/);
});

/**
 * Runs a command line of the test's program in tmux, a real terminal, and types `keys` once it asks.
 * @returns what stood on the screen, some times while it ran and at last at its end.
 */
async function inTerminal(width: number, command: string, keys: string[] = []): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "drydock-terminal-"));
  const status = join(folder, "status");
  const script = join(folder, "run.sh");
  writeFileSync(
    script,
    `${process.execPath} ${command}\necho "130 or less: $?"\ntouch ${status}\nsleep 600\n`,
  );
  const env = { ...process.env, ...utf8, TERM: "screen" };
  const tmux = (...words: string[]) =>
    execFileSync("tmux", ["-S", join(folder, "socket"), "-f", "/dev/null", ...words], {
      env,
      encoding: "utf8",
    });
  const screens: string[] = [];
  try {
    tmux("new-session", "-d", "-x", String(width), "-y", "24", `sh ${script}`);
    for (let tries = 0; tries < 300; tries++) {
      await sleep(50);
      const screen = stripVTControlCharacters(tmux("capture-pane", "-p"))
        .replaceAll(/[ \t]+$/gm, "")
        .trim();
      screens.push(screen);
      if (keys.length > 0 && screen.includes("Passphrase:")) tmux("send-keys", ...keys.splice(0));
      if (screen.includes("130 or less") && readIfThere(status) !== undefined) break;
    }
    return screens;
  } finally {
    tmux("kill-server");
    rmSync(folder, { recursive: true, force: true });
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
