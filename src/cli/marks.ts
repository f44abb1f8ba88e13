/**
 * The characters that progress is drawn with, and cutting what is too long for a line.
 */

export interface Marks {
  spinner: readonly string[];
  full: string;
  empty: string;
  ellipsis: string;
  done: string;
  failed: string;
}

export const unicodeMarks: Marks = {
  spinner: [..."⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"],
  full: "█",
  empty: "░",
  ellipsis: "…",
  done: "✓",
  failed: "✗",
};

export const asciiMarks: Marks = {
  spinner: [..."|/-\\"],
  full: "#",
  empty: ".",
  ellipsis: "~",
  done: "+",
  failed: "x",
};

/** Keeps what fits of the beginning. @param width in characters */
export function cut(line: string, width: number, marks: Marks): string {
  const characters = [...line];
  return characters.length <= width
    ? line
    : characters.slice(0, Math.max(0, width - 1)).join("") + marks.ellipsis;
}

/** Keeps what fits of the end, from a slash on if one is near. @param width in characters */
export function cutFront(text: string, width: number, marks: Marks): string {
  const characters = [...text];
  if (characters.length <= width) return text;
  const kept = characters.slice(characters.length - Math.max(0, width - 1));
  const slash = kept.indexOf("/");
  const from = slash > 0 && slash < width / 3 ? slash : 0;
  return marks.ellipsis + kept.slice(from).join("");
}
