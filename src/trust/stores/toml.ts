/**
 * TOML of somebody else's, to which a few lines are added: each ends with a comment that says whose it is, so that
 * the file keeps its comments and its order, and the lines can be taken out again. What comes of it is parsed and
 * compared with what it should mean, since a line may stand inside of something else.
 */
import { isDeepStrictEqual } from "node:util";
import { parse } from "smol-toml";

export interface TomlTable {
  [key: string]: unknown;
}

/** Tables and values as in JSON. @returns undefined if it is no TOML */
export function parseToml(text: string): TomlTable | undefined {
  try {
    const big = (_: string, value: unknown) => (typeof value === "bigint" ? `${value}n` : value);
    return JSON.parse(JSON.stringify(parse(text, { integersAsBigInt: true }), big)) as TomlTable;
  } catch {
    return undefined;
  }
}

export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What stands below the keys, if that is a table. */
export function tableAt(table: unknown, ...keys: string[]): TomlTable | undefined {
  let at = table;
  for (const key of keys) at = isTable(at) ? at[key] : undefined;
  return isTable(at) ? at : undefined;
}

/**
 * @param edit changes the lines @param expect changes what the old text means, as the new one should mean it
 * @returns undefined unless it does
 */
export function editToml(
  text: string,
  edit: (lines: string[]) => void,
  expect: (table: TomlTable) => void,
): string | undefined {
  const before = text.replace(/\n$/, "").split("\n");
  const lines = [...before];
  edit(lines);
  if (isDeepStrictEqual(lines, before)) return text;
  const edited = `${lines.join("\n")}\n`;
  const expected = parseToml(text);
  if (expected === undefined) return undefined;
  expect(expected);
  return isDeepStrictEqual(parseToml(edited), expected) ? edited : undefined;
}

/** The index of the line with a table's header, -1 if there is none. `keys` are bare, or are quoted there. */
export function headerIndex(lines: readonly string[], ...keys: string[]): number {
  return lines.findIndex((line) => {
    const header = /^\s*\[([^[\]].*?)\]\s*(?:#.*)?$/.exec(line)?.[1];
    if (header === undefined) return false;
    return isDeepStrictEqual(header.match(/"[^"]*"|'[^']*'|[^\s."']+/g)?.map(unquoted), keys);
  });
}

function unquoted(key: string): string {
  return /^["']/.test(key) ? key.slice(1, -1) : key;
}

/** The index of the first table's header; all that is not in a table stands before it. */
export function firstHeaderIndex(lines: readonly string[]): number {
  const index = lines.findIndex((line) => /^\s*\[/.test(line));
  return index < 0 ? lines.length : index;
}

/** @param owner whose line it is, without spaces @param was the line that it takes the place of */
export function marked(line: string, owner: string, was?: string): string {
  return `${line} # drydock trust: ${owner}${was === undefined ? "" : `, was: ${was}`}`;
}

/** The text as it was before the owners' lines were added. */
export function withoutMarked(text: string, owners: readonly string[]): string {
  return text
    .split("\n")
    .flatMap((line) => {
      const [, owner = "", was] = /# drydock trust: (\S+?)(?:, was: (.*))?$/.exec(line) ?? [];
      return owners.includes(owner) ? (was ?? []) : [line];
    })
    .join("\n");
}
