/** Text and commands on a terminal's lines, broken between words: a command can be copied as it stands. */
import { widthOf } from "./format.ts";

/** Where a command stands that needs lines of its own: so that one of 79 columns holds --digest and its 64 digits. */
const commandIndent = 4;
/** Text gets so much room in any case. */
const leastRoom = 30;

/**
 * Breaks lines between words; a word that is longer than a line, a path say, stays whole, and so does what
 * stands between backticks: a command, to be copied. One that is longer than a line has lines of its own.
 * @param width of the terminal; without it lines are as long as they are
 * @param indent where the first line begins already, and the others shall
 */
export function wrapped(text: string, width = Number.POSITIVE_INFINITY, indent = 0): string {
  const room = Math.max(leastRoom, width - indent);
  const margin = " ".repeat(indent);
  const lines = text.split("\n").flatMap((line) => wrapLine(line, room, width));
  const placed = lines.map((line, number) =>
    typeof line === "string" ? (number === 0 ? line : `${margin}${line}`) : line.lines.join("\n"),
  );
  return placed.map((line) => (line.trim() === "" ? "" : line)).join("\n");
}

/** Each line by itself: what of it does not fit goes on below, two spaces further in than it begins. */
export function wrappedLines(text: string, width?: number): string {
  if (width === undefined) return text;
  const each = text.split("\n").map((line) => {
    if (widthOf(line) <= width) return line;
    const margin = /^ */.exec(line)?.[0] ?? "";
    return margin + wrapped(line.slice(margin.length), width, margin.length + 2);
  });
  return each.join("\n");
}

/** @returns lines of text, and the lines of commands, which have their margins already */
function wrapLine(line: string, room: number, width: number): (string | { lines: string[] })[] {
  const done: (string | { lines: string[] })[] = [];
  let last = "";
  // The backslash at the end of a command's line stays with the last word.
  for (const word of line.match(/ *(?:`[^`]*`|[^ ])+(?: \\$)?| +$/g) ?? []) {
    const [, before = "", command, after = ""] = /^( *[^`]*)`([^`]+)`([^`]*)$/.exec(word) ?? [];
    if (command !== undefined && widthOf(word.trim()) > room) {
      done.push(...[`${last}${before}`.trimEnd()].filter((text) => text !== ""));
      done.push({ lines: commandLines(command, width) });
      // A stop or comma has no place behind a command that is to be copied.
      last = after.replace(/^[.,;]/, "");
    } else if (last !== "" && widthOf(`${last}${word}`) > room) {
      done.push(last);
      last = word.trimStart();
    } else last += last === "" && done.length > 0 ? word.trimStart() : word;
  }
  return last === "" && done.length > 0 ? done : [...done, last];
}

/** A command on as many lines as it needs, each but the last with a backslash at its end, as shells read it. */
export function commandLines(command: string, width = Number.POSITIVE_INFINITY): string[] {
  const margin = " ".repeat(commandIndent);
  const whole = `${margin}${command}`;
  if (widthOf(whole) <= width) return [whole];
  const lines = [""];
  const isTooLong = (unit: string) => commandIndent + widthOf(unit) + 2 > width;
  for (const unit of unitsOf(command).flatMap((one) => (isTooLong(one) ? wordsOf(one) : one))) {
    const longer = `${lines.at(-1)}${lines.at(-1) === "" ? margin : " "}${unit}`;
    if (lines.at(-1) === "" || widthOf(longer) + 2 <= width) lines[lines.length - 1] = longer;
    else lines.push(`${margin}${unit}`);
  }
  return lines.map((line, number) => (number < lines.length - 1 ? `${line} \\` : line));
}

/** What stays on one line: a word of the shell, or a flag and the word behind it, which may be its value. */
function unitsOf(command: string): string[] {
  const units: string[] = [];
  for (const word of wordsOf(command)) {
    const flag = units.at(-1);
    if (flag !== undefined && /^--[^=\s]+$/.test(flag) && !word.startsWith("-"))
      units[units.length - 1] = `${flag} ${word}`;
    else units.push(word);
  }
  return units;
}

/** As a shell splits it. */
function wordsOf(command: string): string[] {
  return command.match(/(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+/g) ?? [];
}
