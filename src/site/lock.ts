/**
 * One install at a time in a site: an abstract Unix socket (unix(7)) whose name is made from the site's
 * path. The kernel frees it with the process, so that nothing is left over after a `kill -9`. Such names
 * belong to a network namespace: two installs in different ones don't see each other.
 */
import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { basename, dirname, join, resolve } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";

export interface SiteLock {
  release(): Promise<void>;
}

/**
 * Takes the site for this process until it is released or the process ends.
 * @param root the site's directory; it need not exist yet.
 * @throws DrydockError "preflight" if another process has it, naming that process.
 */
export async function lockSite(root: string): Promise<SiteLock> {
  const name = `\0drydock-${createHash("sha256")
    .update(await realPath(resolve(root)))
    .digest("hex")}`;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end(String(process.pid));
  });
  try {
    await listen(server, name);
  } catch (error) {
    const taken = errorCode(error) === "EADDRINUSE";
    const what = taken ? `another drydock${await holder(name)} is working there` : errorText(error);
    throw new DrydockError("preflight", `lock site "${root}": ${what}`, {
      hint: taken ? "Wait until it is done, then run the same command again." : undefined,
      cause: error,
    });
  }
  server.unref();
  return { release: () => new Promise((done) => server.close(() => done())) };
}

function listen(server: Server, path: string): Promise<AddressInfo | string | null> {
  return new Promise((done, fail) => {
    server.once("error", fail);
    server.listen({ path }, () => done(server.address()));
  });
}

/** " (process 123)", as the lock's holder says itself; empty if it doesn't within a second. */
function holder(name: string): Promise<string> {
  return new Promise((done) => {
    const socket = connect({ path: name, timeout: 1000 });
    let text = "";
    const finish = () => {
      socket.destroy();
      done(/^\d{1,10}$/.test(text) ? ` (process ${text})` : "");
    };
    socket.setEncoding("latin1");
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
