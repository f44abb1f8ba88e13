/** Short pieces of work that an interruption by the user waits for: half done, they would leave nobody serving. */

const running = new Set<Promise<unknown>>();

/** Does the work; whoever asks by `whenInterruptible` waits for its end. It should take a second or two at most. */
export async function uninterrupted<T>(work: () => Promise<T>): Promise<T> {
  const done = work();
  running.add(done);
  try {
    return await done;
  } finally {
    running.delete(done);
  }
}

/** Returns as soon as no such work is under way. */
export async function whenInterruptible(): Promise<void> {
  while (running.size > 0) await Promise.allSettled([...running]);
}
