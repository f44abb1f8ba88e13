/**
 * One HTTP request to a registry: connections kept open, proxies from the environment, time limits,
 * retries, and what went wrong in words. Knows neither credentials nor redirects.
 */
import { type Dispatcher, EnvHttpProxyAgent, interceptors } from "undici";
import { DrydockError, errorCode, errorText } from "../errors.ts";

export interface TransportOptions {
  /** hosts, with the port if it is not 80, that may be spoken to in plain HTTP */
  plainHttp: ReadonlySet<string>;
  /** How often to try again what may pass, and how long to wait before the first time; each wait doubles. */
  retries?: { times: number; milliseconds: number };
}

export type HttpResponse = Dispatcher.ResponseData;

/** Time limits, in milliseconds: to connect, to the answer's first byte, and between any two bytes. */
const connectTimeout = 15_000;
const silenceTimeout = 60_000;

const hostHints = new Map([
  ["ENOTFOUND", "Is the host's name right, and is there a network?"],
  ["EAI_AGAIN", "Is there a network, and does its name server answer?"],
  ["ECONNREFUSED", "Nothing listens there: is the port right?"],
]);

export class RegistryTransport {
  readonly #dispatcher: Dispatcher;
  readonly #plainHosts: Set<string>;

  constructor(options: TransportOptions) {
    const { times, milliseconds } = options.retries ?? { times: 4, milliseconds: 500 };
    this.#plainHosts = new Set([...options.plainHttp].map((host) => new URL(`http://${host}`).host));
    // HTTP/1.1: one connection for each blob is faster than all of them as streams of one.
    this.#dispatcher = new EnvHttpProxyAgent({
      allowH2: false,
      connections: 32,
      connect: { timeout: connectTimeout },
      headersTimeout: silenceTimeout,
      bodyTimeout: silenceTimeout,
    }).compose(
      // It goes on within a broken body, too, where the server gives a strong ETag and takes ranges.
      interceptors.retry({
        maxRetries: times,
        minTimeout: milliseconds,
        methods: ["GET", "HEAD"],
        statusCodes: [429, 500, 502, 503, 504],
        // The last answer is given as it is, with its own words.
        throwOnError: false,
        errorCodes: ["ECONNRESET", "EPIPE", "ETIMEDOUT", "EAI_AGAIN", "UND_ERR_SOCKET"],
      }),
    );
  }

  /** `https://HOST`, or `http://HOST` if the host is one of plainHttp. */
  originOf(host: string): URL {
    const plain = new URL(`http://${host}`);
    return this.#plainHosts.has(plain.host) ? plain : new URL(`https://${host}`);
  }

  /** Whether a request may go there at all: over TLS, or to a host that is named for plain HTTP. */
  allows(url: URL): boolean {
    return url.protocol === "https:" || (url.protocol === "http:" && this.#plainHosts.has(url.host));
  }

  /**
   * @param what names what is read, in errors. @throws DrydockError "upstream" if there is no answer;
   * every status is an answer. Once `signal` is aborted: its reason.
   */
  async request(
    url: URL,
    what: string,
    options: {
      method?: "GET" | "HEAD" | "POST";
      headers?: Record<string, string>;
      body?: string;
      signal?: AbortSignal | undefined;
    },
  ): Promise<HttpResponse> {
    const { method = "GET", headers = {}, body, signal } = options;
    try {
      return await this.#dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method,
        headers: { "user-agent": "drydock", ...headers },
        highWaterMark: 1024 * 1024,
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (cause) {
      signal?.throwIfAborted();
      throw unreachable(url, what, cause);
    }
  }

  /** Ends all connections, those in use too. */
  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }
}

/** The answer's whole body. @throws DrydockError "upstream" if it is longer than `limit` bytes or breaks off. */
export async function readBody(
  response: HttpResponse,
  url: URL,
  what: string,
  limit: number,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw brokenOff(url, what, cause);
  }
  if (size > limit) throw new DrydockError("upstream", `read ${what}: ${url.host} sends over ${limit} bytes`);
  return Buffer.concat(chunks, size);
}

/** The error for an answer that began and did not end. */
export function brokenOff(url: URL, what: string, cause: unknown): DrydockError {
  return new DrydockError("upstream", `read ${what}: ${url.host} broke off: ${reason(cause)}`, {
    hint: "Run it again; if it happens each time, the registry or something on the way is at fault.",
    cause,
  });
}

function unreachable(url: URL, what: string, cause: unknown): DrydockError {
  const code = errorCode(cause) ?? "";
  // OpenSSL's ways to say that the answer to a TLS greeting was no TLS.
  const isPlain =
    code === "EPROTO" || /^ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|HTTP_REQ|HTTPS_PROXY)/.test(code);
  const isCertificate = /CERT|UNABLE_TO_|_SIGNED|^ERR_TLS_/.test(code);
  const hint = isPlain
    ? `If ${url.host} speaks plain HTTP and you trust the way to it: --plain-http ${url.host}.`
    : isCertificate
      ? "If it has a CA of its own, set NODE_EXTRA_CA_CERTS to that CA's PEM file."
      : hostHints.get(code);
  const how = isPlain ? `${url.host} does not speak TLS` : `cannot reach ${url.host}: ${reason(cause)}`;
  return new DrydockError("upstream", `read ${what}: ${how}`, { hint, cause });
}

/** The system's code besides, since some errors have no text of their own. */
function reason(cause: unknown): string {
  const text = errorText(cause);
  const code = errorCode(cause);
  return code === undefined || text.includes(code) ? text : text === "" ? code : `${text} (${code})`;
}
