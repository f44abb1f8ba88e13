/** Commands on a terminal are never broken inside a word, and a shell reads what stands on the screen. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { commandLines, wrapped } from "../../src/cli/wrapped.ts";
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
    // What is longer is one word that no line of this width can hold, with its flag.
    for (const line of lines.filter(({ length }) => length > width))
      assert.match(line, /^ +(--\S+ )?('[^']*'|\S+)( \\)?$/, `${width}`);
    assert.ok(lines.slice(0, -1).every((line) => line.endsWith(" \\")));
    assert.ok(lines.every((line) => !line.trim().startsWith(digest)));
  }
  // The common width holds a digest with its flag.
  assert.ok(commandLines(command, 79).every(({ length }) => length <= 79));
  assert.deepEqual(commandLines("drydock status"), ["  drydock status"]);
});

test("in text a command that fits stays there; one that does not has lines of its own", () => {
  const command = `drydock ${shellWords(words)}`;
  const text = `To have new ones made: \`${command}\`. Or look with \`drydock status\`, and mend it by hand then.`;
  assert.equal(wrapped(text), text);
  const lines = wrapped(text, 60, 10).split("\n");
  assert.deepEqual(lines, [
    "To have new ones made:",
    "  drydock install '/media/My Stick/site.tar' \\",
    `    --digest ${digest} \\`,
    "    --clients=hosts.ini --json \\",
    "    --address registry.plant7.lan --address 198.18.18.10 \\",
    "    'it'\\''s' --new-certs",
    "          Or look with `drydock status`, and mend it by hand",
    "          then.",
  ]);
  assert.equal(wrapped("one\ntwo three", 30, 2), "one\n  two three");
});

test("a word that is longer than a line stays whole", () => {
  const path = `/${"long/".repeat(12)}path`;
  assert.equal(wrapped(`read ${path} please`, 40), `read\n${path}\nplease`);
});
