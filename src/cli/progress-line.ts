/**
 * One running step as one line: its figures, and as many of them as fit the terminal's width.
 */
import type { Piece, Step } from "../reporter.ts";
import { formatBytes, formatDuration, formatRate, printable } from "./format.ts";
import { cut, type Marks } from "./marks.ts";
import { Pieces } from "./pieces.ts";

/** Samples for the rate are taken at most every half second, over the last ten. */
const samplesKept = 20;
const sampleEvery = 500;

/** No more than a terminal shows. */
const troublesKept = 8;

/** Counts what a step says of itself. Times are in milliseconds. */
export class Progress implements Step {
  readonly title: string;
  readonly began: number;
  readonly pieces: Pieces;
  detailText = "";
  /** the last ones, the newest last */
  troubles: string[] = [];
  doneBytes = 0;
  totalBytes: number | undefined;
  #now: () => number;
  #onEnd: (progress: Progress, ok: boolean, summary: string) => void;
  #samples: { at: number; bytes: number }[];
  #shown = 0;

  constructor(
    title: string,
    now: () => number,
    onEnd: (progress: Progress, ok: boolean, summary: string) => void,
  ) {
    this.title = printable(title);
    this.#now = now;
    this.began = now();
    this.pieces = new Pieces(now);
    this.#onEnd = onEnd;
    this.#samples = [{ at: this.began, bytes: 0 }];
  }

  total(bytes: number): void {
    this.totalBytes = bytes;
  }

  advance(bytes: number): void {
    this.doneBytes += bytes;
    const at = this.#now();
    if (at - (this.#samples.at(-1)?.at ?? 0) < sampleEvery) return;
    this.#samples.push({ at, bytes: this.doneBytes });
    if (this.#samples.length > samplesKept) this.#samples.shift();
  }

  /** Other work has another rate: what is read again from the disk says nothing of what is fetched next. */
  detail(text: string): void {
    this.detailText = printable(text);
    this.#samples = [{ at: this.#now(), bytes: this.doneBytes }];
  }

  piece(name: string, size?: number): Piece {
    return this.pieces.begin(name, size);
  }

  trouble(text: string): void {
    this.troubles.push(printable(text));
    if (this.troubles.length > troublesKept) this.troubles.shift();
  }

  /** Where nobody has a better word, it is how much was done. */
  done(
    summary = this.totalBytes === undefined || this.doneBytes === 0 ? "" : formatBytes(this.doneBytes),
  ): void {
    this.#onEnd(this, true, printable(summary));
  }

  failed(): void {
    const { doneBytes, totalBytes } = this;
    const far = totalBytes === undefined ? "" : `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
    this.#onEnd(this, false, far);
  }

  /** From 0 to 1, never less than it was, even where the total grows; undefined without a total. */
  get fraction(): number | undefined {
    if (this.totalBytes === undefined) return undefined;
    const now = this.totalBytes === 0 ? 1 : Math.min(1, this.doneBytes / this.totalBytes);
    this.#shown = Math.max(this.#shown, now);
    return this.#shown;
  }

  /** Bytes a second, of the last ten seconds. */
  get rate(): number {
    const first = this.#samples[0];
    if (first === undefined) return 0;
    const seconds = (this.#now() - first.at) / 1000;
    return seconds < 0.2 ? 0 : (this.doneBytes - first.bytes) / seconds;
  }

  get seconds(): number {
    return (this.#now() - this.began) / 1000;
  }
}

/** The figures that there are, the most wanted first. Padded, so that they keep their places. */
function figures(progress: Progress): string[] {
  const { fraction, rate, totalBytes, doneBytes } = progress;
  if (doneBytes === 0 && totalBytes === undefined) return [];
  const parts: string[] = [];
  if (fraction !== undefined) parts.push(`${Math.floor(fraction * 100)}%`.padStart(4));
  const done = formatBytes(doneBytes).padStart(8);
  parts.push(totalBytes === undefined ? done : `${done} of ${formatBytes(totalBytes)}`);
  if (rate > 0) parts.push(formatRate(rate).padStart(10));
  if (rate > 0 && totalBytes !== undefined && totalBytes > doneBytes) {
    parts.push(`${timeLeft((totalBytes - doneBytes) / rate)} left`);
  }
  return parts;
}

function timeLeft(seconds: number): string {
  return seconds < 59.5 ? `${Math.ceil(seconds)} s` : formatDuration(seconds);
}

/** For a terminal. Never longer than `width` characters. */
export function liveLine(progress: Progress, width: number, frame: number, marks: Marks): string {
  let line = `${marks.spinner[frame % marks.spinner.length]} ${progress.title}`;
  for (const part of figures(progress)) {
    if (line.length + 2 + part.length > width) break;
    line += `  ${part}`;
  }
  const room = width - line.length - 2;
  const { fraction } = progress;
  if (fraction !== undefined && room >= 10) line += `  ${bar(fraction, Math.min(room, 24), marks)}`;
  if (progress.detailText !== "" && width - line.length - 2 >= 12) line += `  ${progress.detailText}`;
  return cut(line, width, marks);
}

/** The last things that went wrong, for a terminal. */
export function troubleLines(progress: Progress, most: number, width: number, marks: Marks): string[] {
  const last = most <= 0 ? [] : progress.troubles.slice(-most);
  return last.map((text) => cut(`     ${marks.failed}  ${text}`, width, marks));
}

function bar(fraction: number, width: number, marks: Marks): string {
  const full = Math.round(fraction * width);
  return marks.full.repeat(full) + marks.empty.repeat(width - full);
}

/** For a log. */
export function plainLine(progress: Progress): string {
  const parts = figures(progress).map((part) => part.trim());
  const words = [`  ${progress.title}:`, ...parts, progress.detailText, progress.pieces.summary()];
  return words.filter((part) => part !== "").join("  ");
}

/** "✓ Place  41 blobs  (12.3 s)" */
export function endLine(progress: Progress, mark: string, summary: string): string {
  const time = `(${formatDuration(progress.seconds)})`;
  return [`${mark} ${progress.title}`, summary, time].filter((part) => part !== "").join("  ");
}
