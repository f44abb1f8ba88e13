import assert from "node:assert/strict";
import { test } from "node:test";
import { splitWords } from "../../../src/trust/inventory/shell-words.ts";

test("words are split as Python's shlex does", () => {
  const comments = true;
  assert.deepEqual(splitWords(`a b="c d" e='f "g"' h\\ i "\\"j\\k" l#m n`, { comments }), [
    "a",
    "b=c d",
    'e=f "g"',
    "h i",
    '"j\\k',
    "l",
  ]);
  assert.deepEqual(splitWords("a#b # c", { comments: false }), ["a#b", "#", "c"]);
  assert.deepEqual(splitWords(`'' ""`, { comments }), ["", ""]);
  assert.equal(splitWords("a \\", { comments }), undefined);
  assert.equal(splitWords(`a "b`, { comments }), undefined);
});
