/** Images in a text file: one reference a line; blank lines, and comments from `#` on, count for nothing. */
import type { FoundImages } from "./found.ts";

export function findInText(text: string): FoundImages {
  const images = text
    .split(/\r?\n/)
    .map((line, index) => ({ reference: line.replace(/(^|\s)#.*/, "").trim(), line: index + 1 }))
    .filter(({ reference }) => reference !== "");
  return { images, notes: [] };
}
