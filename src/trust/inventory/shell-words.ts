/**
 * Splits a line into words as Ansible does: Python's shlex.split(line), with comments in host lines, without
 * in arguments for ssh. The npm port of shlex has no comments, which is half of what is needed here.
 */

/**
 * @param options.comments whether # and all behind it is left out
 * @returns the words with their quotes and escapes resolved, or undefined if a quote or an escape is left open
 */
export function splitWords(line: string, options: { comments: boolean }): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at += 1) {
    const char = line.charAt(at);
    const next = line.charAt(at + 1);
    if (char === "\\" && quote !== "'") {
      if (next === "") return undefined;
      // Inside double quotes a backslash escapes only itself and the quote.
      word = `${word ?? ""}${quote === '"' && next !== "\\" && next !== '"' ? "\\" : ""}${next}`;
      at += 1;
    } else if (quote !== "") {
      if (char === quote) quote = "";
      else word += char;
    } else if (char === "'" || char === '"') {
      quote = char;
      word ??= "";
    } else if (options.comments && char === "#") {
      break;
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = `${word ?? ""}${char}`;
    }
  }
  if (quote !== "") return undefined;
  return word === undefined ? words : [...words, word];
}
