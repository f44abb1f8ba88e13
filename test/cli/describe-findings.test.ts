/** Preflight's table: for a terminal of 80 columns, and as lines that can be searched where there is none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { findingsTable } from "../../src/cli/describe-findings.ts";
import type { Finding } from "../../src/install/finding.ts";

const command = "drydock install '/media/My Stick/site.tar' --address registry.plant7.lan --new-certs";
const findings: Finding[] = [
  { check: "engine", level: "ok", text: "version 20.10.24, linux/amd64" },
  {
    check: "certificates",
    level: "error",
    text: "the server certificate does not name 198.18.18.10, registry.example.com, registry.plant8.lan",
    hint: `It names registry.plant7.lan, 10.0.0.10, 127.0.0.1. To have one made here: \`${command}\``,
  },
];

test("without a terminal each text and each hint is one line", () => {
  assert.equal(
    findingsTable(findings, false),
    [
      "  ok     engine        version 20.10.24, linux/amd64",
      `  error  certificates  ${findings[1]?.text}`,
      `                         ${findings[1]?.hint}`,
    ].join("\n"),
  );
});

test("on a terminal lines break between words, below their column; a command has lines of its own", () => {
  for (const width of [79, 119]) {
    const lines = findingsTable(findings, false, width).split("\n");
    assert.ok(lines.every((line) => line.length <= width));
    const start = lines.findIndex((line) => line.startsWith("    drydock"));
    const [text, typed] = width === 79 ? [lines.slice(2, start), lines.slice(start)] : [lines.slice(2), []];
    for (const line of text) assert.match(line, /^ {23}/);
    if (width === 79)
      assert.deepEqual(typed, [
        "    drydock install '/media/My Stick/site.tar' --address registry.plant7.lan \\",
        "    --new-certs",
      ]);
  }
  assert.match(findingsTable(findings, false, 79), /198\.18\.18\.10,\n {23}registry\.example\.com/);
});

test("colours change nothing but colours; control characters of others are taken out", () => {
  const colored = findingsTable(findings, true, 79);
  assert.notEqual(colored, findingsTable(findings, false, 79));
  assert.equal(stripVTControlCharacters(colored), findingsTable(findings, false, 79));
  const hostile: Finding = { check: "port", level: "error", text: "taken by \u001b[2Jx\u0007" };
  assert.equal(findingsTable([hostile], false), "  error  port  taken by x ");
});
