/**
 * Streams to a host's sshd: straight, by a command, or through jump hosts. A jump host is connected to once and
 * carries all who go through it; its key is checked like any other, and what it carries is encrypted for the
 * host behind it.
 */
import { spawn } from "node:child_process";
import { connect as connectTcp } from "node:net";
import { Duplex } from "node:stream";
import { hostPort } from "./address.ts";
import { asUser, type CallingUser } from "./calling-user.ts";
import { ClientFailure } from "./client.ts";
import { type Connection, ForwardRefused } from "./connection.ts";
import { withRetries } from "./retries.ts";
import type { Route, Target } from "./target.ts";

/** Connects to one target over a stream that `dial` makes. */
export type ConnectTo = (target: Target, dial: () => Promise<Duplex>) => Promise<Connection>;

export class Passages {
  readonly #connect: ConnectTo;
  readonly #user: CallingUser;
  readonly #timeoutMs: number;
  readonly #hops = new Map<string, Promise<Connection>>();

  /** @param timeoutMs what connecting may take */
  constructor(user: CallingUser, timeoutMs: number, connect: ConnectTo) {
    this.#user = user;
    this.#timeoutMs = timeoutMs;
    this.#connect = connect;
  }

  /** Connects to the route's last target. @throws ClientFailure that names the jump host it is about */
  async open(route: Route): Promise<Connection> {
    const last = route.targets.length - 1;
    return await this.#connect(targetAt(route, last), () => this.#stream(route, last));
  }

  /** Ends the connections to jump hosts. */
  close(): void {
    for (const hop of this.#hops.values()) {
      void hop.then(
        (connection) => connection.close(),
        () => undefined,
      );
    }
    this.#hops.clear();
  }

  async #stream(route: Route, index: number): Promise<Duplex> {
    const { host, port, family } = targetAt(route, index);
    if (index > 0) return await this.#through(route, index - 1, host, port);
    if (route.proxyCommand !== undefined) return runProxyCommand(route.proxyCommand, this.#user);
    return connectTcp({ host, port, noDelay: true, ...(family === undefined ? {} : { family }) });
  }

  async #through(route: Route, index: number, host: string, port: number): Promise<Duplex> {
    const hop = targetAt(route, index);
    const about = (failure: { message: string }) =>
      `jump host ${hostPort(hop.host, hop.port)}: ${failure.message}`;
    let connection: Connection;
    try {
      connection = await this.#hop(route, index);
    } catch (error) {
      if (!(error instanceof ClientFailure)) throw error;
      // A failure of a jump host before this one names that one already.
      const text = error.message.startsWith("jump host ") ? error.message : about(error);
      throw new ClientFailure(error.status, text, error.hint);
    }
    try {
      return await connection.forward(host, port);
    } catch (error) {
      if (!(error instanceof ForwardRefused) && !(error instanceof ClientFailure)) throw error;
      const text =
        error instanceof ForwardRefused
          ? `it does not reach ${hostPort(host, port)}: ${error.message}`
          : error.message;
      const hint =
        error instanceof ForwardRefused && error.prohibited
          ? "Allow it in its sshd_config (AllowTcpForwarding), or take another jump host."
          : "Look from that jump host: does sshd run there, and on that port (ansible_port)?";
      const mayPass = error instanceof ClientFailure && error.mayPass;
      throw new ClientFailure("unreachable", about({ message: text }), hint, { mayPass });
    }
  }

  /** One that is open is used again; one that has ended is connected to anew. */
  async #hop(route: Route, index: number): Promise<Connection> {
    const way = route.targets.slice(0, index + 1).map(({ host, port, user }) => [host, port, user]);
    const key = JSON.stringify([route.proxyCommand, way]);
    const there = this.#hops.get(key);
    if (there !== undefined) {
      const connection = await there;
      if (connection.isOpen()) return connection;
      if (this.#hops.get(key) === there) this.#hops.delete(key);
      return await this.#hop(route, index);
    }
    // All who go through it wait for it, and none of them asks it again.
    const hop = withRetries(this.#timeoutMs, () =>
      this.#connect(targetAt(route, index), () => this.#stream(route, index)),
    );
    this.#hops.set(key, hop);
    return await hop;
  }
}

function targetAt(route: Route, index: number): Target {
  const target = route.targets[index];
  if (target === undefined) throw new Error("no such target");
  return target;
}

/** As ssh does, through a shell that the command then replaces; its last words tell why it ended. */
function runProxyCommand(command: string, user: CallingUser): Duplex {
  const { env, ...ids } = asUser(user);
  const child = spawn("/bin/sh", ["-c", `exec ${command}`], { stdio: "pipe", env, ...ids });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-2000);
  });
  child.stdin.on("error", () => undefined); // it ended: `close` says why
  const stream = new Duplex({
    allowHalfOpen: false, // a command that has ended takes nothing any more, as a socket's other end
    read: () => void child.stdout.resume(),
    write: (chunk, _encoding, done) => void child.stdin.write(chunk, () => done()),
    final: (done) => void child.stdin.end(() => done()),
    destroy: (error, done) => {
      child.kill("SIGHUP");
      done(error);
    },
  });
  child.stdout.on("data", (chunk: Buffer) => {
    if (!stream.push(chunk)) child.stdout.pause();
  });
  child.on("error", (error) => stream.destroy(error));
  child.on("close", (code, signal) => {
    const words = said
      .trim()
      .split("\n")
      .at(-1)
      ?.replace(/\p{Cc}/gu, " ")
      .slice(0, 300);
    if (code === 0 || stream.destroyed) stream.push(null);
    else
      stream.destroy(
        new Error(`its ProxyCommand ended with ${signal ?? `exit ${code}`}: ${words || "no word"}`),
      );
  });
  return stream;
}
