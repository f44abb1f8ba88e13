/**
 * What can be done at a client once it is reached: commands, and streams that are opened from where it stands.
 */
import type { Duplex, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ClientChannel, Client as Ssh } from "ssh2";
import { ClientFailure } from "./client.ts";

export interface ExecResult {
  /** null if a signal ended it */
  code: number | null;
  signal: string | undefined;
  /** the first 512 KiB of each; the rest is read and dropped */
  stdout: string;
  /** empty with a terminal, where stdout has both */
  stderr: string;
}

/** Why the client's sshd did not open a stream. */
export class ForwardRefused extends Error {
  override name = "ForwardRefused";
  /** RFC 4254 section 5.1: 1 is "administratively prohibited", 2 "connect failed" */
  readonly reason: number | undefined;

  constructor(message: string, reason: number | undefined) {
    super(message);
    this.reason = reason;
  }

  /** Whether it opens no such stream at all, wherever it would lead. */
  get prohibited(): boolean {
    return this.reason === 1;
  }
}

/** What a command reads: at once, or as it comes, no more of it in memory than is under way. */
export type Stdin = string | AsyncIterable<Uint8Array>;

export interface Connection {
  /** who is logged in */
  user: string;
  /** the user's password for sudo, where it was asked for */
  sudoPassword?: () => string | undefined;
  /**
   * Runs a command with the user's login shell, and gives it `stdin`.
   * @param terminal with a terminal that echoes nothing, which some sudo insist on
   * @param timeoutMs in place of the connection's own; while it takes what a stream gives, time begins anew
   * @throws ClientFailure, and what the stream throws
   */
  exec(command: string, stdin?: Stdin, terminal?: boolean, timeoutMs?: number): Promise<ExecResult>;
  /** Opens a stream to host:port from the client; its names are resolved there. @throws ForwardRefused, ClientFailure */
  forward(host: string, port: number): Promise<Duplex>;
  /** Opens a stream to a Unix socket there, with the user's rights. @throws ForwardRefused, ClientFailure */
  forwardSocket(path: string): Promise<Duplex>;
  isOpen(): boolean;
  close(): void;
}

const outputLimit = 512 * 1024;

/** @param timeoutMs for each command and each stream to open */
export function connectionOver(ssh: Ssh, user: string, timeoutMs: number): Connection {
  let open = true;
  ssh.setMaxListeners(0); // a jump host carries many streams
  ssh.once("close", () => {
    open = false;
  });
  const giveUp = () => {
    open = false;
    ssh.destroy(); // nothing goes on behind our back
  };
  return {
    user,
    exec: (command, stdin, terminal, ownTimeoutMs = timeoutMs) =>
      exec(ssh, ownTimeoutMs, giveUp, command, stdin, terminal),
    forward: (host, port) =>
      forward(ssh, timeoutMs, (opened) => ssh.forwardOut("127.0.0.1", 0, host, port, opened)),
    forwardSocket: (path) =>
      forward(ssh, timeoutMs, (opened) => ssh.openssh_forwardOutStreamLocal(path, opened)),
    isOpen: () => open,
    close: () => {
      open = false;
      ssh.end();
    },
  };
}

/** Runs `work`; rejects if the connection closes, or the time ends with `late`, before it has settled. */
function whileOpen<T>(
  ssh: Ssh,
  timeoutMs: number,
  late: () => Error,
  work: (resolve: (value: T) => void, reject: (error: unknown) => void, goesOn: () => void) => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const closed = () => reject(broken());
  const timer = setTimeout(() => reject(late()), timeoutMs);
  ssh.once("close", closed);
  try {
    work(resolve, reject, () => timer.refresh());
  } catch {
    closed(); // ssh2 throws when it is closed already
  }
  return promise.finally(() => {
    clearTimeout(timer);
    ssh.off("close", closed);
  });
}

function broken(): ClientFailure {
  const hint = "Look at the network, and at what that host's sshd logs; then run again.";
  return new ClientFailure("failed", "the connection broke", hint, { mayPass: true });
}

/** What a command that takes too long ends with. */
export function lateCommand(timeoutMs: number): ClientFailure {
  return new ClientFailure("failed", `a command there did not end within ${timeoutMs / 1000} s`);
}

/** No echo, no translation of line ends (RFC 4254 section 8): what is typed appears nowhere. */
const quietTerminal = { rows: 24, cols: 1000, modes: { ECHO: 0, ECHONL: 0, OPOST: 0, ONLCR: 0 } } as const;

function exec(
  ssh: Ssh,
  timeoutMs: number,
  giveUp: () => void,
  command: string,
  stdin: Stdin = "",
  terminal = false,
): Promise<ExecResult> {
  const late = () => {
    giveUp();
    return lateCommand(timeoutMs);
  };
  return whileOpen(ssh, timeoutMs, late, (resolve, reject, goesOn) => {
    const options = terminal ? { pty: quietTerminal } : {};
    ssh.exec(command, options, (error: Error | undefined, channel: ClientChannel) => {
      if (error !== undefined) {
        reject(new ClientFailure("failed", `run a command there: ${error.message}`));
        return;
      }
      const stdout = collect(channel);
      const stderr = collect(channel.stderr);
      let ended: { code: number | null; signal: string | undefined } | undefined;
      channel.on("exit", (code: number | null, signal?: string) => {
        ended = { code, signal };
      });
      channel.on("error", () => undefined); // `close` follows
      channel.on("close", () => {
        if (ended === undefined) reject(broken());
        else resolve({ ...ended, stdout: stdout(), stderr: stderr() });
      });
      give(channel, stdin, goesOn).catch(reject);
    });
  });
}

/** A command that ends before it has read all says so by its result. @throws what the stream throws */
export async function give(to: Writable, stdin: Stdin, goesOn: () => void): Promise<void> {
  if (typeof stdin === "string") {
    to.end(stdin);
    return;
  }
  let failure: { error: unknown } | undefined;
  const source = async function* () {
    try {
      for await (const chunk of stdin) {
        goesOn();
        yield chunk;
      }
    } catch (error) {
      failure = { error };
      throw error;
    }
  };
  await pipeline(source, to).catch(() => undefined);
  if (failure !== undefined) throw failure.error;
}

/** @param open asks the client's sshd for the stream */
function forward(
  ssh: Ssh,
  timeoutMs: number,
  open: (opened: (error: Error | undefined, stream: ClientChannel) => void) => unknown,
): Promise<Duplex> {
  let waiting = true;
  const late = () => new ForwardRefused(`no answer within ${timeoutMs / 1000} s`, undefined);
  return whileOpen<Duplex>(ssh, timeoutMs, late, (resolve, reject) => {
    open((error, stream) => {
      if (error !== undefined) {
        const text = error.message.replace(/^\(SSH\) Channel open failure: /, "");
        reject(new ForwardRefused(text, "reason" in error ? Number(error.reason) : undefined));
      } else if (waiting) {
        stream.on("error", () => undefined); // whoever reads it sees `close`
        resolve(stream);
      } else {
        stream.destroy();
      }
    });
  }).finally(() => {
    waiting = false;
  });
}

/** Keeps the beginning of a stream, and reads on so that it can end. */
export function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let room = outputLimit;
  stream.on("data", (chunk: Buffer) => {
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}
