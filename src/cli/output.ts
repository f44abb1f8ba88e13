/**
 * Where progress is shown: what the ways for a terminal and for a log share.
 */
import type { Progress } from "./progress-line.ts";

/** The part of a tty.WriteStream that is used. */
export interface Screen {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
  write(text: string): unknown;
}

/** The running steps, and a timer while there are any. */
export abstract class Output {
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
    for (const progress of this.running) progress.failed();
  }

  protected stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
