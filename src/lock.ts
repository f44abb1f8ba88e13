/**
 * One process at a time for a thing that has a path: an abstract Unix socket (unix(7)) whose name is made
 * from it. The kernel frees it with the process, so that nothing is left over after a `kill -9`. Such names
 * belong to a network namespace: two processes in different ones don't see each other.
 */
import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DrydockError, errorCode, errorText } from "./errors.ts";

export interface Lock {
  release(): Promise<void>;
}

/** What is locked, as errors name it. */
export type Lockable = "site" | "output" | "key store";

/**
 * Takes the lock for this process until it is released or the process ends.
 * @param path need not exist yet
 * @param patience how long to wait for another holder, in milliseconds; not at all if left out
 * @throws DrydockError "preflight" if another process has it, naming that process.
 */
export async function takeLock(what: Lockable, path: string, patience = 0): Promise<Lock> {
  const name = await nameOf(what, path);
  const end = performance.now() + patience;
  for (;;) {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.end(String(process.pid));
    });
    try {
      await listen(server, name);
      server.unref();
      return { release: () => new Promise((done) => server.close(() => done())) };
    } catch (error) {
      const taken = errorCode(error) === "EADDRINUSE";
      if (!taken || performance.now() >= end)
        throw await refused(what, path, taken ? name : undefined, error);
      await sleep(50);
    }
  }
}

/**
 * Who has the lock, without taking it: the process's number, 0 if it doesn't say; undefined if nobody has it.
 */
export async function lockHolder(what: Lockable, path: string): Promise<number | undefined> {
  const text = await answerOf(await nameOf(what, path));
  return text === undefined ? undefined : Number(processNumber.exec(text)?.[0] ?? 0);
}

/** The socket's name, of fewer bytes than the kernel takes (107, unix(7)). */
async function nameOf(what: Lockable, path: string): Promise<string> {
  const id = createHash("sha256")
    .update(await realPath(resolve(path)))
    .digest("hex");
  return `\0drydock-${what}-${id}`;
}

/** @param holderOf the socket's name, if the error is that another one has it */
async function refused(
  what: Lockable,
  path: string,
  holderOf: string | undefined,
  cause: unknown,
): Promise<DrydockError> {
  const reason =
    holderOf === undefined ? errorText(cause) : `another drydock${await holder(holderOf)} is working there`;
  return new DrydockError("preflight", `lock ${what} ${JSON.stringify(path)}: ${reason}`, {
    hint: holderOf === undefined ? undefined : "Wait until it is done, then run the same command again.",
    cause,
  });
}

function listen(server: Server, path: string): Promise<AddressInfo | string | null> {
  return new Promise((done, fail) => {
    server.once("error", fail);
    server.listen({ path }, () => done(server.address()));
  });
}

const processNumber = /^\d{1,10}$/;

/** " (process 123)", as the lock's holder says itself; empty if it doesn't within a second. */
async function holder(name: string): Promise<string> {
  const text = (await answerOf(name)) ?? "";
  return processNumber.test(text) ? ` (process ${text})` : "";
}

/** What a lock's holder says within a second; undefined if there is none. */
function answerOf(name: string): Promise<string | undefined> {
  return new Promise((done) => {
    const socket = connect({ path: name, timeout: 1000 });
    let connected = false;
    let text = "";
    const finish = () => {
      socket.destroy();
      done(connected ? text : undefined);
    };
    socket.setEncoding("latin1");
    socket.on("connect", () => {
      connected = true;
    });
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (text.length > 10) finish();
    });
    socket.on("end", finish).on("timeout", finish).on("error", finish);
  });
}

/** The path without symbolic links, so that two names of one folder give one lock. */
async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT" || path === dirname(path)) return path;
    return join(await realPath(dirname(path)), basename(path));
  }
}
