/** An error's text on a terminal: lines break between words, and nothing else changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Failure, failureText } from "../../src/cli/failure.ts";

const failure: Failure = {
  kind: "upstream",
  message: `cannot reach registry.example: ${"a word ".repeat(20).trim()}\n  an indented line`,
  hint: `See ${"/a/long/path".repeat(10)} for more.`,
  exitCode: 7,
};

test("lines break between words, and long words stay whole", () => {
  const lines = failureText(failure, false, 40).split("\n");
  for (const line of lines) assert.ok(line.length <= 40 || !line.includes(" "), line);
  assert.ok(lines.includes("  an indented line"));
  assert.ok(lines.includes("/a/long/path".repeat(10)));
  assert.equal(lines.join(" "), failureText(failure, false).replaceAll("\n", " "));
});

test("without a terminal's width lines are as long as they are", () => {
  assert.equal(failureText(failure, false), `Error: ${failure.message}\n${failure.hint}\n`);
});

test("colour is on the first word alone, and takes no room", () => {
  const plain = failureText(failure, false, 40);
  assert.equal(failureText(failure, true, 40).replace("\u001b[31;1mError:\u001b[0m", "Error:"), plain);
});
