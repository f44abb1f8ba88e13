import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { pythonLiteral } from "../../../src/trust/inventory/python-literal.ts";

const texts = [
  ..."22|022|0|00|-5|+5|- 5|2_222|1_|0x16|0o26|0b11|0x|10.5|10.|.5|1e3|1.2.3|.|-|5L| 22|22 # port|022 # x".split(
    "|",
  ),
  ..."True|False|None|true|yes|True # x|Truely|ops|ops # comment|a b|#x||10.0.0.1|fd00::1|a=b".split("|"),
  ...`'a'|"a"|'a' # c|"a" x|'a|a'|''|"it's"|'say "x"'|u'a'|R"a\\b"|'a\\'b'|"a\\\\b"|'#'|"a"#|'a#'`.split("|"),
  '-o ProxyCommand="ssh -W %h:%p x"',
  "{{ x }}",
  "{% if x %}",
];

test("values are what Python's ast.literal_eval makes of them", async () => {
  const program = `
import ast, json, sys
def value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
print(json.dumps([value(text) for text in json.loads(sys.argv[1])]))`;
  const { stdout } = await promisify(execFile)("python3", ["-c", program, JSON.stringify(texts)]);
  const theirs = JSON.parse(stdout);
  for (const [index, text] of texts.entries()) {
    const ours = pythonLiteral(text);
    // What is not surely known is not taken at all.
    if ("unread" in ours) assert.match(text, /^["'][^#]*["']?[^"']*$/, text);
    else assert.deepEqual(ours.scalar, theirs[index], text);
  }
});

test("what would be more than text or number, or might be, is not taken", () => {
  for (const text of ["['a']", "{'a': 1}", "(5)", "'a' 'b'", "'''a'''", "b'a'", "'a\\nb'", "'a' + x"])
    assert.ok("unread" in pythonLiteral(text), text);
});
