/**
 * GET over HTTP/1.1 (RFC 9112) for what is large: the answer's body is received straight into the buffers
 * that are written to disk. An HTTP library receives into buffers of its own, 64 KiB each, which costs more
 * than everything else that is done with the bytes. Only the plainest answer is taken here: one with a
 * Content-Length. Everything else is for the library.
 */
import { validateHeaderValue } from "node:http";
import type { SecureContext } from "node:tls";
import { errorCode } from "../errors.ts";
import { Connection, type LeanAnswer, type LeanOptions, Unanswered } from "./lean-connection.ts";

export interface LeanRequest {
  url: URL;
  headers: Record<string, string>;
  /** for https */
  secureContext?: SecureContext;
  signal?: AbortSignal | undefined;
  /** see LeanBody */
  lead: number;
}

/** How a connection ends that the other side has closed. */
const closedCodes = new Set(["ECONNRESET", "EPIPE"]);

export class LeanHttp {
  readonly #options: LeanOptions;
  /** by origin: connections that are open and wait for a request */
  readonly #idle = new Map<string, Set<Connection>>();
  readonly #open = new Set<Connection>();

  constructor(options: LeanOptions) {
    this.#options = options;
  }

  /**
   * @returns undefined if the answer has no Content-Length: ask the ordinary way
   * @throws Error as Node's sockets do, with their codes; `signal`'s reason
   */
  async get(request: LeanRequest): Promise<LeanAnswer | undefined> {
    const { origin } = request.url;
    const text = requestText(request);
    for (const connection of this.#idle.get(origin) ?? []) {
      try {
        return await connection.ask(text, request);
      } catch (error) {
        // A server closes what was idle for long, also in the moment in which it is used again.
        if (!(error instanceof Unanswered)) throw error;
        if (!closedCodes.has(errorCode(error.cause) ?? "")) throw error.cause;
      }
    }
    const connection = await this.#connect(request);
    try {
      return await connection.ask(text, request);
    } catch (error) {
      throw error instanceof Unanswered ? error.cause : error;
    }
  }

  close(): void {
    for (const connection of this.#open) connection.end(new Error("closed"));
  }

  async #connect({ url, secureContext, signal }: LeanRequest): Promise<Connection> {
    const idle = this.#idle.get(url.origin) ?? new Set();
    this.#idle.set(url.origin, idle);
    const connection = new Connection(this.#options, {
      idle: () => idle.add(connection),
      busy: () => idle.delete(connection),
      closed: () => {
        idle.delete(connection);
        this.#open.delete(connection);
      },
    });
    this.#open.add(connection);
    await connection.connect(url, secureContext, signal);
    return connection;
  }
}

/** @throws TypeError (ERR_INVALID_CHAR) for a header that would begin another line */
function requestText({ url, headers }: LeanRequest): string {
  const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) => {
    validateHeaderValue(name, value);
    return `${name}: ${value}\r\n`;
  });
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join("")}\r\n`;
}
