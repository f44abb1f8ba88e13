/**
 * What the terminal can show.
 */

/** Colours: on a terminal, unless NO_COLOR (no-color.org) or TERM say otherwise. */
export function hasColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  return isLive(stream, env) && !env.NO_COLOR;
}

/** Whether lines can be drawn over. */
export function isLive(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && env.TERM !== "dumb";
}

/** Whether the locale's character set is UTF-8 (POSIX: LC_ALL, then LC_CTYPE, then LANG). */
export function hasUnicode(env: NodeJS.ProcessEnv = process.env): boolean {
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || "");
}
