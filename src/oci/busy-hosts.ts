/** Hosts that have asked to be left alone for a while (RFC 9110, 10.2.3: Retry-After). */
import { sleepFor } from "./retry.ts";

export class BusyHosts {
  /** host → until when, of performance.now() */
  readonly #until = new Map<string, number>();

  /** @param milliseconds from now on @returns whether the host was not left alone already */
  leaveAlone(host: string, milliseconds: number): boolean {
    const now = performance.now();
    const until = this.#until.get(host) ?? 0;
    this.#until.set(host, Math.max(until, now + milliseconds));
    return until <= now;
  }

  /** Returns when the host may be asked. @throws the signal's reason once it is aborted */
  async over(host: string, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const left = (this.#until.get(host) ?? 0) - performance.now();
      if (left <= 0) return;
      await sleepFor(left, signal);
    }
  }
}
