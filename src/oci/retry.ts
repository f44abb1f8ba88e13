/**
 * Trying again what may pass: a limited number of tries, waits that double and have some chance in them,
 * and what a server itself asks for in Retry-After (RFC 9110, 10.2.3).
 */
import { setTimeout as sleep } from "node:timers/promises";

export interface RetryPolicy {
  /** tries after the first one */
  times: number;
  /** the first wait; each next one is twice as long */
  milliseconds: number;
}

export const usualRetries: RetryPolicy = { times: 4, milliseconds: 500 };

const longestWait = 30_000;
/** What wants us to wait longer is given up at once: the user may know a better way. */
const longestAsked = 120_000;
/** So many bytes more, and the tries are counted from the start again. */
const progress = 256 * 1024;

/** The tries of one piece of work, however many requests it needs. */
export class Attempts {
  readonly #policy: RetryPolicy;
  #failures = 0;
  #begun = performance.now();
  #received = 0;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
  }

  /** Whether any of the work is done: then what refuses us now was there a moment ago. */
  get underWay(): boolean {
    return this.#received > 0;
  }

  /** So many bytes came. */
  received(bytes: number): void {
    const before = this.#received;
    this.#received += bytes;
    if (Math.floor(before / progress) === Math.floor(this.#received / progress)) return;
    this.#failures = 0;
    this.#begun = performance.now();
  }

  /**
   * Counts a failure. @param asked the wait in milliseconds that the server asks for
   * @returns how long to wait before the next try, in milliseconds; undefined to give up
   */
  next(asked = 0): number | undefined {
    this.#failures += 1;
    if (this.#failures > this.#policy.times || asked > longestAsked) return undefined;
    const doubled = Math.min(this.#policy.milliseconds * 2 ** (this.#failures - 1), longestWait);
    return asked + doubled * (0.5 + Math.random() / 2);
  }

  /** For the error, in front of the last failure: "gave up after 5 tries over 31 s; last: "; "" after one try. */
  get story(): string {
    if (this.#failures < 2) return "";
    const seconds = Math.round((performance.now() - this.#begun) / 1000);
    return `gave up after ${this.#failures} tries over ${seconds} s; last: `;
  }
}

/** A Retry-After header, of seconds or a date, in milliseconds from now; undefined if it is none. */
export function parseRetryAfter(text: string | undefined, now = Date.now()): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text.trim())) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Why an answer was not asked for again, if it is because of the wait that the server wants; else "". */
export function tooLong(asked = 0): string {
  if (asked <= longestAsked) return "";
  return `not tried again, since it asks to wait ${Math.round(asked / 1000)} s: `;
}

/** @throws the signal's reason once it is aborted */
export async function sleepFor(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
