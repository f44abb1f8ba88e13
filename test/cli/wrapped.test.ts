/** Commands on a terminal are never broken inside a word, and a shell reads what stands on the screen. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { commandLines, wrapped, wrappedLines } from "../../src/cli/wrapped.ts";
import { shellWords } from "../../src/shell-words.ts";

const digest = "0123456789abcdef".repeat(4);
const words = [
  ...["install", "/media/My Stick/site.tar", "--digest", digest, "--clients=hosts.ini", "--json"],
  ...["--address", "registry.plant7.lan", "--address", "198.18.18.10", "it's", "--new-certs"],
];

/** As a shell reads the lines, copied from the screen. */
const read = (lines: string[]) => execFileSync("/bin/sh", ["-c", lines.join("\n")], { encoding: "utf8" });

test("a command is broken between words, and its flags keep their values", () => {
  const command = shellWords(["printf", "%s\\n", ...words]);
  for (let width = 20; width <= 400; width += 7) {
    const lines = commandLines(command, width);
    assert.equal(read(lines), `${words.join("\n")}\n`, `${width}`);
    // What is longer is one word that no line of this width can hold.
    for (const line of lines.filter(({ length }) => length > width))
      assert.match(line, /^ +('[^']*'|\S+)( \\)?$/, `${width}`);
    // What is written for people is wrapped once more, and stays as it is.
    if (width >= 34) assert.equal(wrappedLines(lines.join("\n"), width), lines.join("\n"));
    assert.ok(lines.slice(0, -1).every((line) => line.endsWith(" \\")));
  }
  // The common width holds a digest with its flag.
  const common = commandLines(command, 79);
  assert.ok(common.every(({ length }) => length <= 79));
  assert.ok(common.includes(`    --digest ${digest} \\`));
  assert.deepEqual(commandLines("drydock status"), ["    drydock status"]);
});

test("in text a command that fits stays there; one that does not has lines of its own", () => {
  const command = `drydock ${shellWords(words)}`;
  const text = `To have new ones made: \`${command}\`. Or look with \`drydock status\`, and mend it by hand then.`;
  assert.equal(wrapped(text), text);
  const lines = wrapped(text, 60, 10).split("\n");
  assert.deepEqual(lines, [
    "To have new ones made:",
    "    drydock install '/media/My Stick/site.tar' --digest \\",
    `    ${digest} \\`,
    "    --clients=hosts.ini --json \\",
    "    --address registry.plant7.lan --address 198.18.18.10 \\",
    "    'it'\\''s' --new-certs",
    "          Or look with `drydock status`, and mend it by hand",
    "          then.",
  ]);
  assert.equal(wrapped("one\ntwo three", 30, 2), "one\n  two three");
});

test("of several lines each goes on further in than it begins; what fits stays as it is", () => {
  const table = "  one   two\n  three four";
  assert.equal(wrappedLines(table, 40), table);
  const lines = `head is a long line of some words and more\n  ${"word ".repeat(9).trim()}\n\nend`;
  assert.equal(
    wrappedLines(lines, 40),
    "head is a long line of some words and\n  more\n  word word word word word word word\n    word word\n\nend",
  );
  assert.equal(wrappedLines(lines), lines);
});

test("a word that is longer than a line stays whole", () => {
  const path = `/${"long/".repeat(12)}path`;
  assert.equal(wrapped(`read ${path} please`, 40), `read\n${path}\nplease`);
});
