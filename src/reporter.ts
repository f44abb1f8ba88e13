/**
 * How library code tells what it does. It never prints: a command passes a Reporter that does.
 */

/** One named piece of work, begun by Reporter.step. Exactly one of done and failed ends it. */
export interface Step {
  /** The work's size in bytes, once it is known. */
  total(bytes: number): void;
  /** So many more bytes are done. */
  advance(bytes: number): void;
  /** What is being worked on now, a few words. */
  detail(text: string): void;
  /**
   * A part of the work, a blob say, is in flight from now on. Its bytes are shown beside the step's, and are
   * no part of them: whoever begins a piece still tells the step what is done.
   * @param size in bytes; left out where it has none, a host say: then it is shown how long it takes
   */
  piece(name: string, size?: number): Piece;
  /** One of many has failed, and the work goes on: the last ones are shown while it does. */
  trouble(text: string): void;
  /** The step is over; `summary` is a few words of what it did. */
  done(summary?: string): void;
  /** The step ended with an error, which is thrown besides. */
  failed(): void;
}

/** What is in flight until `end` is called, however it ends. */
export interface Piece {
  /** So many more bytes of it have come. */
  advance(bytes: number): void;
  /** What is done with it now, a word or two; shown of one without a size. */
  detail(text: string): void;
  end(): void;
}

export interface Reporter {
  step(title: string): Step;
  /** Something the user may want to know. */
  note(text: string): void;
  /** Something the user should look at, though the work goes on. */
  warn(text: string): void;
  /** If the user interrupts from now on, `text` says what is kept and how to go on. */
  whenInterrupted(text: () => Promise<string>): void;
}

const silentPiece: Piece = { advance() {}, detail() {}, end() {} };

const silentStep: Step = {
  total() {},
  advance() {},
  detail() {},
  piece: () => silentPiece,
  trouble() {},
  done() {},
  failed() {},
};

/** Says nothing. */
export const silentReporter: Reporter = {
  step: () => silentStep,
  note() {},
  warn() {},
  whenInterrupted() {},
};

/** Runs `work` as a step that ends however the work ends. */
export async function runStep<T>(
  reporter: Reporter,
  title: string,
  work: (step: Step) => Promise<T>,
  summary?: (result: T) => string,
): Promise<T> {
  const step = reporter.step(title);
  try {
    const result = await work(step);
    step.done(summary?.(result));
    return result;
  } catch (error) {
    step.failed();
    throw error;
  }
}
