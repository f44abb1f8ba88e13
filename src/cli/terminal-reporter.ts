/**
 * Shows progress: on a terminal the running steps, drawn over (live-output.ts); elsewhere plain lines.
 */
import { styleText } from "node:util";
import type { Reporter, Step } from "../reporter.ts";
import { printable } from "./format.ts";
import { LiveOutput } from "./live-output.ts";
import { asciiMarks, unicodeMarks } from "./marks.ts";
import type { Screen } from "./output.ts";
import { PlainOutput } from "./plain-output.ts";
import { endLine, Progress } from "./progress-line.ts";
import { hasColor, hasUnicode, isLive, reflows } from "./terminal.ts";

export interface LiveReporter extends Reporter {
  /** Says that what runs is not finished, and gives the cursor back. */
  close(): void;
}

/** Those that may have something on the screen. */
const open = new Set<LiveReporter>();

/** Before anything else is written: a running step's lines would be drawn over it. */
export function closeReporters(): void {
  for (const reporter of open) reporter.close();
}

/** What library code has said last of an interruption. */
let interruptedText: (() => Promise<string>) | undefined;

/** What is to be said when the user interrupts; undefined if nothing in particular. */
export async function sayInterrupted(): Promise<string | undefined> {
  return await interruptedText?.().catch(() => undefined);
}

interface Options {
  env?: NodeJS.ProcessEnv;
  /** milliseconds */
  now?: () => number;
  /** milliseconds between two progress lines where there is no terminal */
  plainEvery?: number;
}

export function terminalReporter(screen: Screen, options: Options = {}): LiveReporter {
  const env = options.env ?? process.env;
  const marks = hasUnicode(env) ? unicodeMarks : asciiMarks;
  const paint: Paint = hasColor(screen, env)
    ? (style, text) => styleText(style, text, { validateStream: false })
    : (_, text) => text;
  const now = options.now ?? (() => performance.now());
  const output = isLive(screen, env)
    ? new LiveOutput(screen, marks, reflows(env))
    : new PlainOutput(screen, options.plainEvery ?? 5000);
  const end = (progress: Progress, ok: boolean, summary: string) => {
    const mark = ok ? paint("green", marks.done) : paint("red", marks.failed);
    output.end(progress, endLine(progress, mark, summary));
  };
  const reporter: LiveReporter = {
    step(title: string): Step {
      open.add(reporter);
      const progress = new Progress(title, now, end);
      output.begin(progress);
      return progress;
    },
    note: (text) => output.line(printable(text, true)),
    warn: (text) => output.line(`${paint("yellow", "Warning:")} ${printable(text, true)}`),
    whenInterrupted(text) {
      interruptedText = text;
    },
    close() {
      open.delete(reporter);
      output.close();
    },
  };
  return reporter;
}

type Paint = (style: "green" | "red" | "yellow", text: string) => string;
