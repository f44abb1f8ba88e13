/** One connection that answers requests of LeanHttp, one after the other. */
import type { IncomingHttpHeaders } from "node:http";
import { connect as connectPlain, isIP, type OnReadOpts, type Socket } from "node:net";
import { connect as connectTls, type SecureContext } from "node:tls";
import { LeanBody } from "./lean-body.ts";

export interface LeanAnswer {
  statusCode: number;
  headers: IncomingHttpHeaders;
  body: LeanBody;
}

export interface LeanOptions {
  /** milliseconds until a connection must be there */
  connectTimeout: number;
  /** milliseconds that may pass without a byte */
  silenceTimeout: number;
}

/** A longer header section is none that a registry sends. */
const mostHead = 64 * 1024;

/** Nothing of an answer had come when the connection ended. `cause` says why it ended. */
export class Unanswered extends Error {}

interface Watcher {
  idle(): void;
  busy(): void;
  closed(): void;
}

interface Asked {
  resolve: (answer: LeanAnswer | undefined) => void;
  reject: (error: unknown) => void;
  /** listens to the signal no more */
  forget: () => void;
  lead: number;
}

export class Connection {
  readonly #options: LeanOptions;
  readonly #watcher: Watcher;
  /** bytes before a body */
  readonly #headBuffer = Buffer.allocUnsafe(16 * 1024);
  #socket: Socket | undefined;
  #head = Buffer.alloc(0);
  #asked: Asked | undefined;
  #body: LeanBody | undefined;
  #keep = true;

  constructor(options: LeanOptions, watcher: Watcher) {
    this.#options = options;
    this.#watcher = watcher;
  }

  async connect(url: URL, secureContext?: SecureContext, signal?: AbortSignal): Promise<void> {
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
    const onread: OnReadOpts = {
      buffer: () => this.#space(),
      callback: (count) => this.#received(count),
    };
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const isTls = url.protocol === "https:";
    const socket = isTls
      ? connectTls({
          ...{ host, port, onread },
          ALPNProtocols: ["http/1.1"],
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...(secureContext ? { secureContext } : {}),
        })
      : connectPlain({ host, port, onread });
    this.#socket = socket;
    const timer = setTimeout(
      () => this.end(failure("ETIMEDOUT", `no connection within ${this.#options.connectTimeout / 1000} s`)),
      this.#options.connectTimeout,
    );
    const abort = () => this.end(signal?.reason);
    signal?.addEventListener("abort", abort);
    socket.once(isTls ? "secureConnect" : "connect", resolve);
    socket.once("error", (error) => {
      reject(error);
      this.end(error);
    });
    socket.once("close", () => {
      const error = failure("ECONNRESET", "the other side closed the connection");
      reject(error);
      this.end(error);
    });
    socket.setNoDelay(true);
    socket.on("timeout", () =>
      this.end(failure("ETIMEDOUT", `nothing came for ${this.#options.silenceTimeout / 1000} s`)),
    );
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  async ask(
    text: string,
    { signal, lead }: { signal?: AbortSignal | undefined; lead: number },
  ): Promise<LeanAnswer | undefined> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<LeanAnswer | undefined>();
    const abort = () => this.end(signal?.reason);
    signal?.addEventListener("abort", abort);
    const forget = () => signal?.removeEventListener("abort", abort);
    this.#watcher.busy();
    this.#asked = { resolve, reject, forget, lead };
    this.#socket?.ref();
    this.#socket?.setTimeout(this.#options.silenceTimeout);
    this.#socket?.write(text, "latin1");
    return await promise;
  }

  /** Ends the connection; who waits for something of it gets the error. */
  end(error: unknown): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    socket.destroy();
    this.#watcher.closed();
    this.#asked?.forget();
    if (this.#body) this.#body.fail(error);
    else this.#asked?.reject(this.#head.length === 0 ? new Unanswered("", { cause: error }) : error);
    this.#asked = undefined;
  }

  #space(): Buffer {
    const space = this.#body?.space();
    return space !== undefined && space.length > 0 ? space : this.#headBuffer;
  }

  /** @returns whether the socket may go on reading */
  #received(count: number): boolean {
    if (this.#body) {
      if (this.#body.received(count)) this.#done();
      return true;
    }
    if (!this.#asked) {
      this.end(failure("ECONNRESET", "bytes that nobody asked for"));
      return false;
    }
    this.#head = Buffer.concat([this.#head, this.#headBuffer.subarray(0, count)]);
    const end = this.#head.indexOf("\r\n\r\n");
    if (end >= 0) this.#answer(this.#head.subarray(0, end).toString("latin1"), this.#head.subarray(end + 4));
    else if (this.#head.length > mostHead)
      this.end(failure("HPE_HEADER_OVERFLOW", "its headers have no end"));
    return true;
  }

  #answer(head: string, rest: Buffer): void {
    const parsed = parseHead(head);
    const asked = this.#asked;
    if (parsed === undefined || asked === undefined) {
      asked?.resolve(undefined);
      this.end(undefined);
      return;
    }
    this.#head = Buffer.alloc(0);
    this.#keep = parsed.keep;
    const body = new LeanBody(parsed.length, asked.lead, {
      pause: () => {
        this.#socket?.setTimeout(0);
        this.#socket?.pause();
      },
      resume: () => {
        if (!this.#socket?.isPaused()) return;
        this.#socket.setTimeout(this.#options.silenceTimeout);
        this.#socket.resume();
      },
      abandon: () => this.end(failure("ECONNRESET", "nobody reads it")),
    });
    this.#body = body;
    if (body.take(rest) < rest.length) this.#keep = false;
    asked.resolve({ statusCode: parsed.statusCode, headers: parsed.headers, body });
    if (body.space().length === 0) this.#done();
  }

  /** The answer is here to its end. */
  #done(): void {
    this.#asked?.forget();
    this.#asked = undefined;
    this.#body = undefined;
    this.#socket?.setTimeout(0);
    // A command that has nothing else to do ends.
    this.#socket?.unref();
    if (this.#keep) this.#watcher.idle();
    else this.end(undefined);
  }
}

/** RFC 9112, 4 and 5. @returns undefined if it is not as plain as we want it */
function parseHead(
  text: string,
): { statusCode: number; headers: IncomingHttpHeaders; length: number; keep: boolean } | undefined {
  const [first = "", ...lines] = text.split("\r\n");
  const statusCode = Number(/^HTTP\/1\.1 ([2-5]\d\d)(?: |$)/.exec(first)?.[1]);
  const headers: Record<string, string | string[]> = {};
  for (const line of lines) {
    const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === "") return undefined;
    const key = name.toLowerCase();
    const known = headers[key];
    headers[key] = known === undefined ? value : [known, value].flat();
  }
  const length = headers["content-length"];
  if (Number.isNaN(statusCode) || headers["transfer-encoding"] !== undefined) return undefined;
  if (typeof length !== "string" || !/^\d{1,15}$/.test(length)) return undefined;
  const keep = !/\bclose\b/i.test(String(headers.connection ?? ""));
  return { statusCode, headers, length: Number(length), keep };
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
