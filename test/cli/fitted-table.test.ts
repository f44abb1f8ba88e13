import assert from "node:assert/strict";
import { test } from "node:test";
import { fittedTable } from "../../src/cli/fitted-table.ts";
import { columns } from "../../src/cli/format.ts";

const rows = [
  ["library/app:1", "3b1f0a2c4d5e", "linux/amd64"],
  ["a-team/with/a/long/repository-name:v1.2.3-alpine", "0a1b2c3d4e5f", "linux/amd64, linux/arm64"],
  ["no/platforms:1", "777777777777", ""],
];

test("what fits is a plain table, and so is what goes to no terminal", () => {
  assert.equal(fittedTable(rows, { indent: 2 }), columns(rows, { indent: 2 }));
  assert.equal(fittedTable(rows, { indent: 2, width: 120 }), columns(rows, { indent: 2 }));
  assert.equal(fittedTable([], { width: 80 }), "");
});

test("a long first cell has a line of its own, the others keep their columns", () => {
  const lines = [
    "  library/app:1         3b1f0a2c4d5e  linux/amd64",
    "  a-team/with/a/long/repository-name:v1.2.3-alpine",
    "                        0a1b2c3d4e5f  linux/amd64, linux/arm64",
    "  no/platforms:1        777777777777",
  ];
  assert.equal(fittedTable(rows, { indent: 2, width: 80 }), lines.join("\n"));
});

test("where the others need the whole line, they stand below, broken between words", () => {
  const notes = [
    [
      "registry.example/team/app:1 for linux/arm64",
      `upstream does not have it ${"at all ".repeat(9)}`.trim(),
    ],
  ];
  assert.equal(
    fittedTable(notes, { indent: 2, width: 60 }),
    [
      "  registry.example/team/app:1 for linux/arm64",
      "      upstream does not have it at all at all at all at all",
      "      at all at all at all at all at all",
    ].join("\n"),
  );
});

test("labels stay in front of what they label", () => {
  const facts = [
    ["registry", "registry.plant7.lan, 10.0.0.10, 10.0.0.11, port 443, read-only"],
    ["size", "5 B"],
  ];
  assert.equal(
    fittedTable(facts, { width: 50 }),
    [
      "registry  registry.plant7.lan, 10.0.0.10,",
      "          10.0.0.11, port 443, read-only",
      "size      5 B",
    ].join("\n"),
  );
});
