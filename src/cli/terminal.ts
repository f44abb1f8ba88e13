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

/**
 * Whether the terminal breaks the lines that are there anew when it gets narrower, as nearly all do. Those
 * that don't cut them: xterm itself (others only take its name), GNU screen, and the kernel's console.
 */
export function reflows(env: NodeJS.ProcessEnv = process.env): boolean {
  return !env.XTERM_VERSION && !env.STY && env.TERM !== "linux";
}
