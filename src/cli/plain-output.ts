/**
 * Progress for a log: plain lines.
 */
import { Output } from "./output.ts";
import { type Progress, plainLine } from "./progress-line.ts";

/** Each line once: a step's begin, its end, and in between its progress when it has made some. */
export class PlainOutput extends Output {
  #told = new WeakMap<Progress, string>();

  override begin(progress: Progress): void {
    super.begin(progress);
    this.line(`${progress.title} ...`);
  }

  line(text: string): void {
    this.screen.write(`${text}\n`);
  }

  protected tick(): void {
    for (const progress of this.running) {
      const come = `${progress.doneBytes + progress.pieces.doneBytes} ${progress.detailText}`;
      if (come === (this.#told.get(progress) ?? "0 ")) continue;
      this.#told.set(progress, come);
      this.line(plainLine(progress));
    }
  }
}
