/** What came of a run of the tests, in a few lines below all that the reporter has shown. */
import { relative, resolve } from "node:path";
import type { run } from "node:test";

export class Outcome {
  /** "test/archive/verify.test.ts:20  the test's name", and below it what its error begins with */
  readonly #failed: string[] = [];
  readonly #skipped: string[] = [];
  /** path → milliseconds */
  readonly #took = new Map<string, number>();
  /** paths of files of which a test ended */
  readonly #ran = new Set<string>();
  #tests = 0;
  #ended = false;

  constructor(tests: ReturnType<typeof run>) {
    tests.on("test:fail", ({ name, file, line, details, todo }) => {
      // A suite, or a file, that failed because a test in it did.
      const { failureType, cause } = details.error as Error & { failureType?: string };
      if (todo !== undefined || failureType === "subtestsFailed") return;
      const why = String(cause instanceof Error ? cause.message : (cause ?? details.error.message));
      // The beginning alone: the reporter has shown the whole.
      const lines = why.trim().split("\n").slice(0, 6);
      this.#failed.push(
        [`${placeOf(file, line)}  ${name}`, ...lines.map((said) => `    ${said.slice(0, 300)}`)].join("\n  "),
      );
    });
    // A file's own summary is not counted on: now and then it is lost when the file's process is made to end.
    tests.on("test:complete", ({ name, file }) => {
      // A file without a test is told of as a test with the file's name.
      if (file !== undefined && resolve(name) !== file) this.#ran.add(file);
    });
    tests.on("test:pass", ({ name, file, line, skip }) => {
      if (skip !== undefined) this.#skipped.push(`${placeOf(file, line)}  ${name}`);
    });
    tests.on("test:summary", ({ file, counts, duration_ms }) => {
      if (file === undefined) this.#ended = true;
      else this.#took.set(file, duration_ms);
      if (file === undefined) this.#tests = counts.tests;
    });
  }

  /** Lines for people. @param files all that were to be run @param left what was left behind */
  text(files: readonly string[], left: readonly string[]): string {
    const slowest = [...this.#took].sort(([, a], [, b]) => b - a).slice(0, 5);
    return [
      ...listOf(
        "longest",
        slowest.map(([file, took]) => `${placeOf(file)}  ${Math.round(took / 1000)} s`),
      ),
      ...listOf("skipped", this.#skipped),
      ...listOf(
        "without a test",
        this.#without(files).map((file) => placeOf(file)),
      ),
      ...listOf("left behind", left),
      ...listOf(`failed: ${this.#failed.length} of ${this.#tests}`, this.#failed),
      "",
    ].join("\n");
  }

  isWell(files: readonly string[]): boolean {
    return (
      this.#ended && [this.#failed, this.#skipped, this.#without(files)].every(({ length }) => length === 0)
    );
  }

  #without(files: readonly string[]): string[] {
    return files.filter((file) => !this.#ran.has(file));
  }
}

function listOf(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`\n${title}`, ...lines.map((line) => `  ${line}`)];
}

function placeOf(file = "?", line?: number): string {
  return `${relative(process.cwd(), file)}${line === undefined ? "" : `:${line}`}`;
}
