/**
 * This host itself as a client (ansible_connection=local): the same commands and streams, without SSH.
 */
import { spawn } from "node:child_process";
import { connect, type NetConnectOpts } from "node:net";
import { userInfo } from "node:os";
import type { Duplex } from "node:stream";
import { errorCode } from "../errors.ts";
import { ClientFailure } from "./client.ts";
import {
  type Connection,
  collect,
  type ExecResult,
  ForwardRefused,
  give,
  lateCommand,
  type Stdin,
} from "./connection.ts";

/** @param timeoutMs for each command and each stream to open */
export function localConnection(timeoutMs: number): Connection {
  let open = true;
  return {
    user: userInfo().username,
    exec: (command, stdin, _terminal, ownTimeoutMs = timeoutMs) => exec(command, stdin ?? "", ownTimeoutMs),
    forward: (host, port) => forward({ host, port }, timeoutMs),
    forwardSocket: (path) => forward({ path }, timeoutMs),
    isOpen: () => open,
    close: () => {
      open = false;
    },
  };
}

/** In a process group of its own, so that nothing goes on behind our back after its time. */
function exec(command: string, stdin: Stdin, timeoutMs: number): Promise<ExecResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ExecResult>();
  const child = spawn("/bin/sh", ["-c", command], { stdio: "pipe", detached: true });
  const timer = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    reject(lateCommand(timeoutMs));
  }, timeoutMs);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin.on("error", () => undefined); // it ended before it read
  give(child.stdin, stdin, () => timer.refresh()).catch(reject);
  child.once("error", (error) => reject(new ClientFailure("failed", `run a command here: ${error.message}`)));
  child.once("close", (code, signal) =>
    resolve({ code, signal: signal ?? undefined, stdout: stdout(), stderr: stderr() }),
  );
  return promise.finally(() => clearTimeout(timer));
}

/** RFC 4254 section 5.1: what an sshd would say. */
const connectFailed = 2;

function forward(to: NetConnectOpts, timeoutMs: number): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const socket = connect({ ...to, timeout: timeoutMs });
  const failed = (text: string) => {
    socket.destroy();
    reject(new ForwardRefused(text, connectFailed));
  };
  socket.on("error", (error) => failed(error.message || (errorCode(error) ?? "no connection")));
  socket.once("timeout", () => failed(`no answer within ${timeoutMs / 1000} s`));
  socket.once("connect", () => {
    socket.setTimeout(0);
    resolve(socket);
  });
  return promise;
}
