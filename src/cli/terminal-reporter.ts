/**
 * Shows progress: on a terminal one line for each running step, drawn over; elsewhere plain lines.
 */
import { styleText } from "node:util";
import type { Reporter, Step } from "../reporter.ts";
import { printable } from "./format.ts";
import {
  asciiMarks,
  endLine,
  liveLine,
  type Marks,
  Progress,
  plainLine,
  unicodeMarks,
} from "./progress-line.ts";
import { hasColor, hasUnicode, isLive } from "./terminal.ts";

export interface LiveReporter extends Reporter {
  /** Takes unfinished lines away and gives the cursor back. */
  close(): void;
}

/** The part of a tty.WriteStream that is used. */
export interface Screen {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
  write(text: string): unknown;
}

interface Options {
  env?: NodeJS.ProcessEnv;
  /** milliseconds */
  now?: () => number;
  /** milliseconds between two progress lines where there is no terminal */
  plainEvery?: number;
}

const hideCursor = "\u001b[?25l";
const showCursor = "\u001b[?25h";
const eraseRest = "\u001b[K";
const eraseBelow = "\u001b[J";
const frameEvery = 100;

export function terminalReporter(screen: Screen, options: Options = {}): LiveReporter {
  const env = options.env ?? process.env;
  const marks = hasUnicode(env) ? unicodeMarks : asciiMarks;
  const paint: Paint = hasColor(screen, env)
    ? (style, text) => styleText(style, text, { validateStream: false })
    : (_, text) => text;
  const now = options.now ?? (() => performance.now());
  const output = isLive(screen, env)
    ? new LiveOutput(screen, marks)
    : new PlainOutput(screen, options.plainEvery ?? 5000);
  const end = (progress: Progress, ok: boolean, summary: string) => {
    const mark = ok ? paint("green", marks.done) : paint("red", marks.failed);
    output.end(progress, endLine(progress, mark, summary));
  };
  return {
    step(title: string): Step {
      const progress = new Progress(title, now, end);
      output.begin(progress);
      return progress;
    },
    note: (text) => output.line(printable(text, true)),
    warn: (text) => output.line(`${paint("yellow", "Warning:")} ${printable(text, true)}`),
    close: () => output.close(),
  };
}

type Paint = (style: "green" | "red" | "yellow", text: string) => string;

/** What the two kinds of output share: the running steps, and a timer while there are any. */
abstract class Output {
  protected readonly screen: Screen;
  protected readonly running = new Set<Progress>();
  #every: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(screen: Screen, every: number) {
    this.screen = screen;
    this.#every = every;
  }

  abstract line(text: string): void;
  protected abstract tick(): void;

  begin(progress: Progress): void {
    this.running.add(progress);
    this.#timer ??= setInterval(() => this.tick(), this.#every).unref();
  }

  end(progress: Progress, text: string): void {
    if (!this.running.delete(progress)) return;
    if (this.running.size === 0) this.stop();
    this.line(text);
  }

  close(): void {
    this.running.clear();
    this.stop();
  }

  protected stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** Each line once: a step's begin, its end, and in between its progress when it has made some. */
class PlainOutput extends Output {
  #told = new WeakMap<Progress, number>();

  override begin(progress: Progress): void {
    super.begin(progress);
    this.line(`${progress.title} ...`);
  }

  line(text: string): void {
    this.screen.write(`${text}\n`);
  }

  protected tick(): void {
    for (const progress of this.running) {
      if (progress.doneBytes === (this.#told.get(progress) ?? 0)) continue;
      this.#told.set(progress, progress.doneBytes);
      this.line(plainLine(progress));
    }
  }
}

/**
 * The running steps' lines stand below what is finished. They are overwritten in place, in one write a
 * frame, each erased only from its new end on: so nothing flickers.
 */
class LiveOutput extends Output {
  #marks: Marks;
  #drawn = 0;
  #frame = 0;
  #cursorHidden = false;
  #onExit = () => this.close();

  constructor(screen: Screen, marks: Marks) {
    super(screen, frameEvery);
    this.#marks = marks;
  }

  override begin(progress: Progress): void {
    super.begin(progress);
    if (!this.#cursorHidden) {
      this.#cursorHidden = true;
      this.screen.write(hideCursor);
      process.once("exit", this.#onExit);
    }
    this.#draw("");
  }

  line(text: string): void {
    const above = text.split("\n").map((line) => `${line}${eraseRest}\n`);
    this.#draw(above.join(""));
  }

  protected tick(): void {
    this.#frame++;
    this.#draw("");
  }

  protected override stop(): void {
    super.stop();
    this.#draw("");
    if (!this.#cursorHidden) return;
    this.#cursorHidden = false;
    this.screen.write(showCursor);
    process.off("exit", this.#onExit);
  }

  /** Writes `above` where the running lines begin, and these anew below it. */
  #draw(above: string): void {
    // The last column stays free: a terminal that has filled it may wrap.
    const width = Math.max(20, (this.screen.columns ?? 80) - 1);
    // What has scrolled off at the top cannot be drawn over.
    const most = Math.max(1, (this.screen.rows ?? 24) - 1);
    const lines = [...this.running]
      .slice(0, most)
      .map((progress) => liveLine(progress, width, this.#frame, this.#marks));
    const up = this.#drawn > 0 ? `\u001b[${this.#drawn}A\r` : "";
    const drawn = lines.map((line) => `${line}${eraseRest}\n`).join("");
    const rest = this.#drawn > lines.length ? eraseBelow : "";
    this.#drawn = lines.length;
    if (up + above + drawn + rest !== "") this.screen.write(up + above + drawn + rest);
  }
}
