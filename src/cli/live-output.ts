/**
 * Progress on a terminal: the running steps' lines are drawn over.
 */

import type { Marks } from "./marks.ts";
import { Output, type Screen } from "./output.ts";
import { liveLine, type Progress, troubleLines } from "./progress-line.ts";
import { wrapped } from "./wrapped.ts";

const hideCursor = "\u001b[?25l";
const showCursor = "\u001b[?25h";
const eraseRest = "\u001b[K";
const eraseBelow = "\u001b[J";
/** What is too long is cut by the terminal, which knows how wide each character is. */
const cutLines = "\u001b[?7l";
const wrapLines = "\u001b[?7h";
const frameEvery = 100;

/** The lines of pieces, and of troubles, take at most so many rows of a terminal each, and a part of its height. */
const mostPieces = 4;
const shareOfPieces = 1 / 4;

/**
 * The running steps' lines stand below what is finished. They are overwritten in place, in one write a
 * frame, each erased only from its new end on: so nothing flickers.
 */
export class LiveOutput extends Output {
  #marks: Marks;
  #reflows: boolean;
  /** how many columns each of the lines has that stand there now, and the terminal when they were drawn */
  #drawn: number[] = [];
  #columns = 0;
  #frame = 0;
  #cursorHidden = false;
  #onExit = () => this.close();

  /** @param reflows whether the terminal breaks lines anew when it gets narrower */
  constructor(screen: Screen, marks: Marks, reflows: boolean) {
    super(screen, frameEvery);
    this.#marks = marks;
    this.#reflows = reflows;
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
    this.#draw(`${wrapped(text, this.#width)}\n`);
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

  /** The last column stays free: a terminal that has filled it may wrap. */
  get #width(): number {
    return Math.max(20, (this.screen.columns ?? 80) - 1);
  }

  /** Writes `above` where the running lines begin, and these anew below it. */
  #draw(above: string): void {
    const up = this.#rowsDrawn();
    const lines = this.#lines();
    // Rows of one line that was broken stay one for the terminal, unless they are erased as a whole.
    const isAnew = above !== "" || (up > 0 && this.#columns !== this.screen.columns);
    this.#columns = this.screen.columns ?? 0;
    const text = [
      up > 0 ? `\u001b[${up}A\r` : "",
      isAnew ? eraseBelow + above : "",
      lines.length > 0 ? cutLines : "",
      ...lines.map((line) => `${line}${eraseRest}\n`),
      lines.length > 0 ? wrapLines : "",
      up > lines.length ? eraseBelow : "",
    ].join("");
    this.#drawn = lines.map((line) => [...line].length);
    if (text !== "") this.screen.write(text);
  }

  #lines(): string[] {
    // What has scrolled off at the top cannot be drawn over.
    const rows = this.screen.rows ?? 24;
    const most = Math.max(1, rows - 1);
    const mostRows = Math.min(mostPieces, Math.floor(rows * shareOfPieces));
    const steps = [...this.running].slice(0, most);
    let room = most - steps.length;
    return steps.flatMap((progress) => {
      const pieces = progress.pieces.lines(room, mostRows, this.#width, this.#marks);
      room -= pieces.length;
      const troubles = troubleLines(progress, Math.min(room, mostRows), this.#width, this.#marks);
      room -= troubles.length;
      return [liveLine(progress, this.#width, this.#frame, this.#marks), ...pieces, ...troubles];
    });
  }

  /** How many of the terminal's rows the lines take that stand there: more than one each, if it got narrower. */
  #rowsDrawn(): number {
    const columns = this.screen.columns ?? 80;
    if (!this.#reflows) return this.#drawn.length;
    return this.#drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / columns)), 0);
  }
}
