/** Words as a POSIX shell reads them, for commands that people are told to type. */

/** A command of these words, on one line. */
export function shellWords(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
