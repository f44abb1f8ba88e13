/** How long each step of an action took: a reporter that passes everything on and keeps the times. */
import type { Reporter, Step } from "../reporter.ts";

export interface StepTime {
  /** its title, as it was reported */
  step: string;
  seconds: number;
}

export interface TimedReporter extends Reporter {
  begunAt: Date;
  /** the steps that are done, in the order in which they ended */
  times: StepTime[];
}

export function timedReporter(reporter: Reporter): TimedReporter {
  const times: StepTime[] = [];
  return {
    begunAt: new Date(),
    times,
    step: (title) => timedStep(reporter.step(title), (seconds) => times.push({ step: title, seconds })),
    note: (text) => reporter.note(text),
    warn: (text) => reporter.warn(text),
    whenInterrupted: (text) => reporter.whenInterrupted(text),
  };
}

function timedStep(step: Step, took: (seconds: number) => void): Step {
  // Not of the clock, which may be set meanwhile.
  const began = performance.now();
  return {
    total: (bytes) => step.total(bytes),
    advance: (bytes) => step.advance(bytes),
    detail: (text) => step.detail(text),
    piece: (name, size) => step.piece(name, size),
    trouble: (text) => step.trouble(text),
    done: (summary) => {
      took(Math.round(performance.now() - began) / 1000);
      step.done(summary);
    },
    failed: () => step.failed(),
  };
}
