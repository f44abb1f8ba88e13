/**
 * One holder at a time of a named lock on this machine: an abstract Unix socket (unix(7)), which the
 * kernel frees however its holder ends, also with `kill -9`.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { DrydockError, errorCode } from "../errors.ts";

/** Making two keys of 4096 bits takes some seconds; whoever holds it for longer hangs. */
const patience = 120_000;

/**
 * Runs `work` while holding the lock for `path`; waits for another holder first.
 * @throws DrydockError "host" if that takes more than two minutes.
 */
export async function whileLocked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const name = `\0drydock-keys-${createHash("sha256").update(path).digest("hex").slice(0, 32)}`;
  const release = await acquire(name, path);
  try {
    return await work();
  } finally {
    await release();
  }
}

async function acquire(name: string, path: string): Promise<() => Promise<void>> {
  const end = performance.now() + patience;
  for (;;) {
    const server = createServer((socket) => socket.destroy());
    server.listen(name);
    try {
      await once(server, "listening");
      return async () => {
        server.close();
        await once(server, "close");
      };
    } catch (error) {
      if (errorCode(error) !== "EADDRINUSE") throw error;
      if (performance.now() > end) {
        throw new DrydockError(
          "host",
          `key store ${JSON.stringify(path)}: another process has been using it for two minutes`,
        );
      }
      await sleep(50);
    }
  }
}
