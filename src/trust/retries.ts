/** Trying again what may pass: a connection that is reset, or not answered in time. */
import { setTimeout as sleep } from "node:timers/promises";
import { ClientFailure } from "./client.ts";

const mostTries = 3;

/** A host that does not answer takes all of its time: it gets no more than so many of them. */
const mostTimeouts = 2;

/** In milliseconds, longer each time; by chance, so that those who were turned away together don't return so. */
const pauseBefore = (nextTry: number) => (nextTry - 1) * 500 * (1 + Math.random());

/**
 * @param timeoutMs what one step of the work may take
 * @param inTurn runs a try when it is its turn: between two of them others may come
 * @returns what the first try gives that does not end with what may pass @throws what the last one does
 */
export async function withRetries<T>(
  timeoutMs: number,
  work: () => Promise<T>,
  inTurn: (work: () => Promise<T>) => Promise<T> = (work) => work(),
): Promise<T> {
  let spent = 0;
  const timed = async () => {
    const began = performance.now();
    try {
      return await work();
    } finally {
      spent += performance.now() - began;
    }
  };
  for (let nth = 1; ; nth += 1) {
    try {
      return await inTurn(timed);
    } catch (error) {
      if (!(error instanceof ClientFailure) || !error.mayPass) throw error;
      if (nth === mostTries || spent > mostTimeouts * timeoutMs * 0.99) throw tried(error, nth);
    }
    await sleep(pauseBefore(nth + 1));
  }
}

function tried({ status, message, hint }: ClientFailure, times: number): ClientFailure {
  return new ClientFailure(status, times === 1 ? message : `${message} (tried ${times} times)`, hint);
}
