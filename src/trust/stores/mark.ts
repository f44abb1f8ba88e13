/**
 * The first line of every file that is drydock's own, so that it is known again: a comment in PEM (what stands
 * outside of the blocks), TOML and YAML alike. It also says how many of the directories above were made for the
 * file, since these go with it.
 */
const pattern = /^# Written by drydock trust \(directories made: (\d+)\)/;

/** @param directoriesMade a number, or where a script puts one */
export function markLine(directoriesMade: number | string): string {
  return `# Written by drydock trust (directories made: ${directoriesMade}), for drydock trust --remove`;
}

export function withMark(content: string, directoriesMade: number): string {
  return `${markLine(directoriesMade)}\n${content}`;
}

export function isMarked(text: string | undefined): boolean {
  return text !== undefined && pattern.test(text);
}

/** @returns 0 where there is no mark */
export function directoriesMade(text: string | undefined): number {
  return Number(pattern.exec(text ?? "")?.[1] ?? 0);
}

/** What stands behind the mark, or all of it where there is none. */
export function withoutMark<T extends string | undefined>(text: T): T | string {
  return text !== undefined && isMarked(text) ? text.slice(text.indexOf("\n") + 1) : text;
}
