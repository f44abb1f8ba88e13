/** What stands on a real terminal's screen. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inTerminal, program, utf8 } from "./in-terminal.ts";

for (const width of [80, 120]) {
  test(`on a real terminal of ${width} columns nothing wraps and the finished steps remain`, async () => {
    const screens = await inTerminal([width, 24], `${program} work a --steps`);
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

test("the pieces in flight stand below their step, as many as the terminal's height allows", async () => {
  for (const [rows, shown] of [
    [24, 4],
    [9, 2],
    [3, 0],
  ] as const) {
    const screens = await inTerminal([80, rows], `${program} work a --pieces`);
    const running = screens.filter((screen) => /Fetch +[1-9]\d*%/.test(screen));
    const wanted = [0, 1, 2, 3].slice(0, shown).map((at) => `image-${at}:1`);
    if (shown > 0) wanted.push(`and ${6 - shown} more`);
    const seen = running.map((screen) => screen.match(/image-\d:1|and \d more/g) ?? []);
    assert.ok(
      seen.some((names) => names.join() === wanted.join()),
      `${rows} rows: ${running.at(5)}`,
    );
    assert.ok(seen.every((names) => names.length <= wanted.length));
    for (const screen of running) assert.equal(screen.match(/Fetch/g)?.length, 1, screen);
    if (rows === 3) continue;
    assert.match(screens.at(-1) ?? "", /^✓ Fetch {2}290 MiB {2}\(\d\.\d s\)\nworked on a\n130 or less: 0$/);
  }
});

test("500 hosts take ten lines: how many are done, some of those in flight, and the last that failed", async () => {
  for (const [columns, rows, most] of [
    [80, 24, 4],
    [120, 10, 2],
  ] as const) {
    const screens = await inTerminal([columns, rows], `${program} work a --hosts`);
    const running = screens.filter((screen) => /web-1\d\d/.test(screen) && !screen.includes("worked on"));
    assert.ok(running.length > 0);
    for (const screen of running) {
      const lines = screen.split("\n");
      assert.ok(lines.length <= 2 + 2 * most, screen);
      assert.match(lines[0] ?? "", /^. trust 500 clients {2}\d+ of 500 done, \d+ failed$/);
      assert.ok(
        lines.filter((line) => /^ +\d s {2}web-\d+\..* (connecting|trust stores)$/.test(line)).length <= most,
      );
      assert.ok(lines.filter((line) => /^ +✗ {2}web-\d+\..*: refused: /.test(line)).length <= most);
    }
    assert.ok(
      running.some(
        (screen) => /^ +0 s {2}web-.* trust stores\n/m.test(screen) && /and \d+ more/.test(screen),
      ),
    );
    assert.ok(running.some((screen) => screen.match(/✗/g)?.length === most));
    assert.match(
      screens.at(-1) ?? "",
      /^✓ trust 500 clients {2}450 changed, 50 refused {2}\(\d+\.\d s\)\nworked on a\n130 or less: 0$/,
    );
  }
});

test("nothing remains of the lines where the terminal is made narrower, and wider again", async () => {
  // Below a full screen: what tmux moves out at the top of an empty one cannot be reached.
  const screens = await inTerminal(
    [120, 24],
    `-e 0; seq 30; ${process.execPath} ${program} work a --steps --pieces`,
    { when: /and 2 more/, columns: 60 },
    { when: /Fetch +2\d%/, columns: 40 },
    { when: /Fetch +3\d%/, columns: 100 },
  );
  const final = (screens.at(-1) ?? "").replaceAll(/^\d+\n/gm, "").replaceAll(/\(\d+\.\d s\)/g, "(… s)");
  const wanted = `Warning: half of it is done
✓ Check  nothing wrong  (… s)
✓ Download 12 images  12 images, 3.0 GiB  (… s)
✓ Fetch  290 MiB  (… s)
worked on a
130 or less: 0`;
  assert.equal(final, wanted);
});

test("after Ctrl-C the screen says how far it was and what is kept, and no line is drawn over it", async () => {
  for (const columns of [80, 120]) {
    const acts = { when: /and 2 more/, keys: ["C-c"] };
    const screens = await inTerminal([columns, 24], `${program} work a --pieces`, acts);
    const final = (screens.at(-1) ?? "").replace(/\d+\.?\d* MiB of/, "… MiB of");
    assert.match(
      final,
      /^✗ Fetch {2}… MiB of 300 MiB {2}\(\d\.\d s\)\nInterrupted: The half of it is kept\.\n130 or less: 130$/,
    );
  }
});

test("the cursor is given back, also after an interruption", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "drydock-on-terminal-"));
  t.after(() => rm(folder, { recursive: true }));
  const screen = join(folder, "screen");
  for (const command of [
    `${program} work a --steps`,
    `${program} work --wait & until grep -q waiting ${screen}; do sleep 0.1; done; kill -INT $!; wait $!`,
  ]) {
    const raw = execFileSync("script", ["-qefc", `${process.execPath} ${command} || true`, screen], {
      env: { ...process.env, ...utf8, SHELL: "/bin/sh" },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    assert.ok(raw.includes("\u001b[?25l"), command);
    assert.ok(raw.lastIndexOf("\u001b[?25h") > raw.lastIndexOf("\u001b[?25l"), command);
  }
});

test("a secret is asked for at the terminal, and not shown", async () => {
  const screens = await inTerminal([80, 24], `${program} ask </dev/null`, {
    when: /Passphrase:/,
    keys: ["pässx", "BSpace", "Enter"],
  });
  const final = screens.at(-1) ?? "";
  assert.equal(final, 'Passphrase:\nanswer: "päss"\n130 or less: 0');
  assert.ok(screens.every((screen) => !/^Passphrase: \S/m.test(screen)));
});

test("Ctrl-C at the question ends with 130", async () => {
  const screens = await inTerminal([80, 24], `${program} ask`, { when: /Passphrase:/, keys: ["abc", "C-c"] });
  assert.match(screens.at(-1) ?? "", /^Passphrase:\nInterrupted: no answer was given\n130 or less: 130$/);
});

test("without a terminal a secret cannot be asked for: wrong usage", () => {
  const { status, stderr } = spawnSync("setsid", ["-w", process.execPath, program, "ask"], {
    encoding: "utf8",
  });
  assert.equal(status, 2);
  assert.match(stderr, /^Error: ask "Passphrase:": there is no terminal to ask at\n/);
});
