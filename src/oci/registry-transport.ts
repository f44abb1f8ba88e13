/**
 * One HTTP request to a registry: connections kept open, proxies and trust as the environment says, time
 * limits, retries, and what went wrong in words. Knows neither credentials nor redirects.
 */

import type { IncomingHttpHeaders } from "node:http";
import type { SecureContext } from "node:tls";
import { Agent, type Dispatcher, ProxyAgent } from "undici";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { BusyHosts } from "./busy-hosts.ts";
import { LeanHttp } from "./lean-http.ts";
import { type Environment, proxyFor } from "./proxy.ts";
import { RateLimits } from "./rate-limit.ts";
import { Attempts, parseRetryAfter, type RetryPolicy, sleepFor, tooLong, usualRetries } from "./retry.ts";
import { UpstreamTls } from "./upstream-tls.ts";

export interface TransportOptions {
  /** hosts, with the port if it is not 80, that may be spoken to in plain HTTP */
  plainHttp: ReadonlySet<string>;
  /** How often to try again what may pass, and how long to wait before the first time; each wait doubles. */
  retries?: RetryPolicy;
  /** Is told what the user may want to know: that a host makes us wait, how many pulls it still allows. */
  note?: ((text: string) => void) | undefined;
  /** where proxies and CA files are named; the process's own if left out */
  environment?: Environment;
  /** where CAs and client certificates of single hosts are; Docker's and Podman's folders if left out */
  certificateFolders?: readonly string[];
}

/** `gaveUp` begins the error's text where the same answer came too often: "gave up after 5 tries over 31 s; last: ". */
export interface HttpResponse {
  statusCode: number;
  headers: IncomingHttpHeaders;
  /** Its pieces are the reader's; giveBack (lent-buffers.ts) takes those that it is done with. */
  body: AsyncIterable<Uint8Array> & { dump(options?: { limit: number }): Promise<void> };
  gaveUp?: string;
}

export interface HttpRequest {
  method?: "GET" | "HEAD" | "POST";
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal | undefined;
  /**
   * The body is large, and wanted in pieces of lentSize that begin at a page, after one of `lead` bytes,
   * if that is not 0. Not for a POST.
   */
  large?: { lead: number } | undefined;
  /** of a work that needs several requests; each request has tries of its own if left out */
  attempts?: Attempts;
}

/** The host itself is at fault, not what it was asked for: another one may do better. */
export class HostFailure extends DrydockError {
  constructor(message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super("upstream", message, options);
  }
}

/** Time limits, in milliseconds: to connect, to the answer's first byte, and between any two bytes. */
const connectTimeout = 15_000;
const silenceTimeout = 60_000;
/** A longer wait than this is told. */
const noticeable = 5_000;

const ownHeaders = { "user-agent": "drydock" };

const passingStatus = new Set([429, 500, 502, 503, 504]);
const passingCodes = new Set([
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "UND_ERR_SOCKET",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
]);
/** These pass only where the host was there a moment ago. */
const restartCodes = new Set(["ECONNREFUSED", "UND_ERR_CONNECT_TIMEOUT", "ENOTFOUND"]);

const hostHints = new Map([
  ["ENOTFOUND", "Is the host's name right, and is there a network?"],
  ["EAI_AGAIN", "Is there a network, and does its name server answer?"],
  ["ECONNREFUSED", "Nothing listens there: is the port right?"],
]);

export class RegistryTransport {
  readonly #plainHosts: Set<string>;
  readonly #environment: Environment;
  readonly #tls: UpstreamTls;
  readonly #policy: RetryPolicy;
  readonly #note: (text: string) => void;
  readonly #limits: RateLimits;
  /** by origin: each has its own trust and its own way */
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>();
  readonly #busy = new BusyHosts();
  readonly #trusted = new Map<string, Promise<SecureContext>>();
  readonly #lean = new LeanHttp({ connectTimeout, silenceTimeout });
  /** origins whose answers to the lean client were for the library */
  readonly #notLean = new Set<string>();

  constructor(options: TransportOptions) {
    this.#plainHosts = new Set([...options.plainHttp].map((host) => new URL(`http://${host}`).host));
    this.#environment = options.environment ?? process.env;
    this.#tls = new UpstreamTls(this.#environment, options.certificateFolders);
    this.#policy = options.retries ?? usualRetries;
    this.#note = options.note ?? (() => {});
    this.#limits = new RateLimits(this.#note);
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

  /** For a work of several requests that share their tries. */
  attempts(): Attempts {
    return new Attempts(this.#policy);
  }

  /**
   * @param what names what is read, in errors. @throws DrydockError "upstream" (a HostFailure) if there is
   * no answer; every status is an answer. "input" if what the environment says of proxies and CAs can't
   * be used. Once `signal` is aborted: its reason.
   */
  async request(url: URL, what: string, request: HttpRequest = {}): Promise<HttpResponse> {
    const { signal, method } = request;
    // A POST might have done its work.
    const attempts =
      request.attempts ?? (method === "POST" ? new Attempts({ times: 0, milliseconds: 0 }) : this.attempts());
    for (;;) {
      await this.#busy.over(url.host, signal);
      let response: HttpResponse;
      try {
        response = await this.#send(url, what, request);
      } catch (cause) {
        signal?.throwIfAborted();
        if (cause instanceof DrydockError) throw cause;
        const code = errorCode(cause) ?? "";
        const passes = passingCodes.has(code) || (attempts.underWay && restartCodes.has(code));
        if (passes && (await this.pause(attempts, signal))) continue;
        throw this.#unreachable(url, what, cause, attempts.story);
      }
      this.#limits.look(url.host, response.headers);
      if (!passingStatus.has(response.statusCode)) return response;
      const asked = parseRetryAfter(headerOf(response, "retry-after"));
      const wait = attempts.next(asked);
      if (wait === undefined) return Object.assign(response, { gaveUp: attempts.story || tooLong(asked) });
      discard(response);
      // All that is asked of this host waits with it, and is told once.
      const isNews = this.#busy.leaveAlone(url.host, asked ?? 0);
      if (wait > noticeable && isNews) {
        this.#note(
          `${url.host} answers ${response.statusCode}: waiting ${Math.round(wait / 1000)} s before the next try`,
        );
      }
      await sleepFor(wait, signal);
    }
  }

  /** Counts a failure and waits. @returns false to give up; throws `signal`'s reason. */
  async pause(attempts: Attempts, signal: AbortSignal | undefined): Promise<boolean> {
    const wait = attempts.next();
    if (wait === undefined) return false;
    await sleepFor(wait, signal);
    return true;
  }

  /** Ends all connections, those in use too. */
  async close(): Promise<void> {
    this.#lean.close();
    const opened = await Promise.allSettled(this.#dispatchers.values());
    await Promise.all(opened.map((one) => (one.status === "fulfilled" ? one.value.destroy() : undefined)));
  }

  #unreachable(url: URL, what: string, cause: unknown, story: string): HostFailure {
    const code = errorCode(cause) ?? "";
    const proxy = proxyFor(url, this.#environment);
    // OpenSSL's ways to say that the answer to a TLS greeting was no TLS.
    const isPlain =
      code === "EPROTO" || /^ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|HTTP_REQ|HTTPS_PROXY)/.test(code);
    const isCertificate = /CERT|UNABLE_TO_|_SIGNED|^ERR_TLS_/.test(code);
    const hint = isPlain
      ? `If ${url.host} speaks plain HTTP and you trust the way to it: --plain-http ${url.host}.`
      : isCertificate
        ? `If it has a CA of its own, put that into /etc/docker/certs.d/${url.host}/ca.crt, or set SSL_CERT_FILE to its PEM file.`
        : proxy !== undefined
          ? `It was asked through the proxy ${proxy.host}: is that right, and does it allow ${url.host}? NO_PROXY names exceptions.`
          : hostHints.get(code);
    const how = isPlain ? `${url.host} does not speak TLS` : `cannot reach ${url.host}: ${reason(cause)}`;
    return new HostFailure(`read ${what}: ${story}${how}`, { hint, cause });
  }

  async #send(url: URL, what: string, request: HttpRequest): Promise<HttpResponse> {
    const { large, headers = {}, signal } = request;
    if (large === undefined || this.#notLean.has(url.origin) || proxyFor(url, this.#environment)) {
      return await send(await this.#dispatcherFor(url, what), url, request);
    }
    const answer = await this.#lean.get({
      ...{ url, signal, lead: large.lead, ...(await this.#trust(url)) },
      headers: { ...ownHeaders, ...headers },
    });
    if (answer !== undefined) return answer;
    this.#notLean.add(url.origin);
    return await this.#send(url, what, request);
  }

  async #dispatcherFor(url: URL, what: string): Promise<Dispatcher> {
    const known = this.#dispatchers.get(url.origin) ?? this.#open(url);
    this.#dispatchers.set(url.origin, known);
    try {
      return await known;
    } catch (cause) {
      if (cause instanceof DrydockError) throw cause;
      throw new DrydockError("upstream", `read ${what}: cannot speak to ${url.host}: ${errorText(cause)}`);
    }
  }

  async #open(url: URL): Promise<Dispatcher> {
    const proxy = proxyFor(url, this.#environment);
    const connect = { timeout: connectTimeout, ...(await this.#trust(url)) };
    const options = {
      // HTTP/1.1: one connection for each blob is faster than all of them as streams of one.
      allowH2: false,
      connections: 32,
      headersTimeout: silenceTimeout,
      bodyTimeout: silenceTimeout,
    };
    if (proxy === undefined) return new Agent({ ...options, connect });
    const proxyTls = { timeout: connectTimeout, ...(await this.#trust(proxy)) };
    return new ProxyAgent({ ...options, uri: proxy.href, requestTls: connect, proxyTls });
  }

  async #trust(url: URL): Promise<{ secureContext?: SecureContext }> {
    if (url.protocol !== "https:") return {};
    const context = this.#trusted.get(url.origin) ?? this.#tls.contextFor(url);
    this.#trusted.set(url.origin, context);
    return { secureContext: await context };
  }
}

async function send(dispatcher: Dispatcher, url: URL, request: HttpRequest): Promise<HttpResponse> {
  const { method = "GET", headers = {}, body, signal } = request;
  return await dispatcher.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method,
    headers: { ...ownHeaders, ...headers },
    highWaterMark: 1024 * 1024,
    ...(body === undefined ? {} : { body }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The answer's whole body. @param story Attempts.story, for the error. @throws DrydockError "upstream" if it is longer than `limit` bytes or breaks off. */
export async function readBody(
  response: HttpResponse,
  url: URL,
  what: string,
  limit: number,
  story: () => string = () => "",
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
    throw brokenOff(url, what, cause, story());
  }
  if (size > limit) throw new DrydockError("upstream", `read ${what}: ${url.host} sends over ${limit} bytes`);
  return Buffer.concat(chunks, size);
}

/** Lets go of an answer's body: the connection is used again if little is left of it, else it is closed. */
export function discard(response: HttpResponse): void {
  response.body.dump({ limit: 64 * 1024 }).catch(() => {});
}

/** The first of that name, which is in lower case. */
export function headerOf(response: HttpResponse, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The error for an answer that began and did not end. @param story Attempts.story */
export function brokenOff(url: URL, what: string, cause: unknown, story = ""): HostFailure {
  return new HostFailure(`read ${what}: ${story}${url.host} broke off: ${reason(cause)}`, {
    hint: "Run it again; if it happens each time, the registry or something on the way is at fault.",
    cause,
  });
}

/** The system's code besides, since some errors have no text of their own. */
function reason(cause: unknown): string {
  // Node's advice is for who starts Node.
  const text = errorText(cause).replace(/; if the root CA is installed locally.*$/s, "");
  const code = errorCode(cause);
  return code === undefined || text.includes(code) ? text : text === "" ? code : `${text} (${code})`;
}
