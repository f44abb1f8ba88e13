/**
 * Values in an INI inventory: Ansible hands each to Python's ast.literal_eval, and where that fails keeps the
 * text. Hence `'ops' # the operator` is ops, but `ops # the operator` is all of it.
 * https://docs.python.org/3/library/ast.html#ast.literal_eval
 */
import type { Scalar } from "./value.ts";

const comment = String.raw`\s*(?:#.*)?$`;
const string = new RegExp(String.raw`^[ \t]*([uUrR]?)(["'])((?:\\.|(?!\2)[^\\])*)\2${comment}`);
const integer = new RegExp(
  String.raw`^[ \t]*([+-]?)[ \t]*(0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[1-9](?:_?\d)*|0(?:_?0)*)${comment}`,
);
const float = new RegExp(
  String.raw`^[ \t]*[+-]?(?=\.?\d)(?=[\d_]*\.|\d[\d_]*[eE])(?:\d[\d_]*)?\.?\d*(?:[eE][+-]?\d+)?${comment}`,
);
const word = new RegExp(`^[ \\t]*(True|False|None)${comment}`);
const words: Record<string, Scalar> = { True: true, False: false, None: null };

/** @returns the value, or what it is instead, if Python would make something else of it than text or number */
export function pythonLiteral(text: string): { scalar: Scalar } | { unread: string } {
  const [, name] = word.exec(text) ?? [];
  if (name !== undefined) return { scalar: words[name] ?? null };
  const [, sign, digits] = integer.exec(text) ?? [];
  if (digits !== undefined) return { scalar: Number(digits.replaceAll("_", "")) * (sign === "-" ? -1 : 1) };
  if (float.test(text)) return { scalar: Number.parseFloat(text.trim().replaceAll("_", "")) };
  const [, prefix = "", , body] = string.exec(text) ?? [];
  if (body !== undefined) return withoutEscapes(body, prefix.toLowerCase() === "r");
  if (/^[ \t]*[bBfFrRuU]{0,2}["']/.test(text)) return { unread: "text with quotes in it" };
  const isAddress = /^[ \t]*\[[\da-fA-F]*:[\da-fA-F:.]+\](?::\d+)?[ \t]*$/.test(text);
  if (/^[ \t]*[[({]/.test(text) && !/\{[{%#]/.test(text) && !isAddress)
    return { unread: "a list or a mapping" };
  return { scalar: text };
}

function withoutEscapes(body: string, raw: boolean): { scalar: string } | { unread: string } {
  if (raw || !body.includes("\\")) return { scalar: body };
  if (/\\[^\\'"]/.test(body.replaceAll("\\\\", ""))) return { unread: "text with escapes in it" };
  return { scalar: body.replace(/\\(.)/g, "$1") };
}
