/**
 * How numbers and tables are shown to people.
 */
import { stripVTControlCharacters } from "node:util";

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 3221225472 → "3.0 GiB" (IEC 80000-13: powers of 1024). */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.95 would be shown as 1024.0
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 ? String(Math.round(value)) : value >= 100 ? value.toFixed(0) : value.toFixed(1);
  return `${digits} ${units[unit]}`;
}

/** @param seconds 0.42 → "0.4 s", 75 → "1 min 15 s", 3700 → "1 h 1 min", 100000 → "1 d 3 h" */
export function formatDuration(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return pair(whole, 60, "min", "s");
  if (whole < 86400) return pair(Math.floor(whole / 60), 60, "h", "min");
  return pair(Math.floor(whole / 3600), 24, "d", "h");
}

function pair(value: number, base: number, large: string, small: string): string {
  const rest = value % base;
  const first = `${Math.floor(value / base)} ${large}`;
  return rest === 0 ? first : `${first} ${rest} ${small}`;
}

/** @param bytesPerSecond 220200960 → "210 MiB/s" */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** 1 → "1 image", 3 → "3 images" */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

/**
 * A table as text: columns aligned, two spaces between, no space at a line's end.
 * @param options.right the columns, from 0, whose cells stand at the right (numbers)
 * @param options.indent spaces before each line
 */
export function columns(
  rows: readonly (readonly string[])[],
  options: { right?: readonly number[]; indent?: number } = {},
): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, widthOf(cell));
    }
  }
  const margin = " ".repeat(options.indent ?? 0);
  const lines = rows.map((row) => {
    const cells = row.map((cell, index) => {
      const gap = " ".repeat((widths[index] ?? 0) - widthOf(cell));
      return options.right?.includes(index) ? gap + cell : cell + gap;
    });
    return (margin + cells.join("  ")).trimEnd();
  });
  return lines.join("\n");
}

/** How many columns of a terminal it takes, colours aside, if every character takes one. */
export function widthOf(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}

/** Digests, and tags that are made of one (cosign's), by their first twelve digits; --json has them in full. */
export function shortenDigests(text: string): string {
  return text.replace(/sha256([:-])([0-9a-f]{12})[0-9a-f]{52}/g, (_, mark: string, digits: string) =>
    mark === ":" ? digits : `sha256-${digits}`,
  );
}

/**
 * Text from elsewhere (a registry's answer, an image's name) without the control characters by which it
 * could move the cursor or pass for our own output. Line feeds stay if `lines`.
 */
export function printable(text: string, lines = false): string {
  const plain = stripVTControlCharacters(text);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return plain.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, (character) =>
    lines && character === "\n" ? character : " ",
  );
}
