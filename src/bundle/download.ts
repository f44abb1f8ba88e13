/** Reads a URL of the user's: http and https, redirects, from any byte on, no secret of the URL in any text. */
import { DrydockError } from "../errors.ts";
import { brokenOff, discard, type HttpResponse, RegistryTransport } from "../oci/registry-transport.ts";
import { contentRange, ResumedBody } from "../oci/resumed-body.ts";
import type { Attempts } from "../oci/retry.ts";

export interface Download {
  /** of the whole, in bytes, if the server says it */
  size: number | undefined;
  /** from the byte that was wanted on; once */
  body: AsyncIterable<Uint8Array>;
  /** Ends the connection; called however the reading ends. */
  close(): Promise<void>;
}

interface Answer {
  /** where the redirects ended */
  url: URL;
  response: HttpResponse;
}

const mostRedirects = 5;

/** The URL as it may be shown and stored: without user, password, query and fragment. */
export function publicUrl(text: string): string {
  const url = parseUrl(text);
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/**
 * @param what names what is read, in errors @param from the first byte that is wanted
 * @throws DrydockError "input" if it is no URL that can be read, "upstream" if the server does not give it;
 *   `body` throws the latter too, if the connection ends before
 */
export async function openDownload(text: string, what: string, from = 0): Promise<Download> {
  const transport = new RegistryTransport({ plainHttp: new Set() });
  const close = () => transport.close();
  try {
    const { url, response } = await openAt(transport, parseUrl(text), what, from);
    const size = sizeOf(response);
    if (size === undefined) return { size, body: without(from, chunksOf(response, url, what)), close };
    // No more than what is there already: whoever has that sees that it is something else.
    if (size <= from) return { size, body: nothing(), close };
    const source = {
      open: (headers: Record<string, string>, attempts: Attempts) =>
        follow(transport, parseUrl(text), what, { headers, attempts }),
      failure: async (answer: Answer) => badStatus(answer, what),
      size,
      what,
    };
    const body = new ResumedBody(transport, source, from);
    body.begin(response, url);
    return { size, body: body.chunks(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Asks for what stands from this byte on; the answer may begin there (206), or be the whole (200). */
async function openAt(transport: RegistryTransport, url: URL, what: string, from: number): Promise<Answer> {
  if (from === 0) return await follow(transport, url, what);
  const answer = await follow(transport, url, what, { headers: { range: `bytes=${from}-` } });
  const { statusCode } = answer.response;
  const range = contentRange(answer.response);
  if (statusCode === 200 || (statusCode === 206 && range?.start === from && range.total !== undefined)) {
    return answer;
  }
  discard(answer.response);
  return await follow(transport, url, what);
}

/** Of the whole, in bytes, if the answer says it. */
function sizeOf(response: HttpResponse): number | undefined {
  if (response.statusCode === 206) return contentRange(response)?.total;
  const size = Number(response.headers["content-length"]);
  return Number.isSafeInteger(size) ? size : undefined;
}

async function* nothing(): AsyncGenerator<Uint8Array, void> {}

/** What stands behind the first `count` bytes. */
async function* without(count: number, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  let skip = count;
  for await (const chunk of source) {
    const behind = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - behind.length;
    if (behind.length > 0) yield behind;
  }
}

/**
 * How large it is, without a byte of it being sent.
 * @returns in bytes; undefined if the server doesn't say it @throws as openDownload
 */
export async function announcedSize(text: string, what: string): Promise<number | undefined> {
  const transport = new RegistryTransport({ plainHttp: new Set() });
  try {
    const { response } = await follow(transport, parseUrl(text), what, { method: "HEAD" });
    const length = response.headers["content-length"];
    return length === undefined || !Number.isSafeInteger(Number(length)) ? undefined : Number(length);
  } catch (error) {
    // RFC 9110, 15.5.6 and 15.6.2: such a server still answers GET.
    if (error instanceof RefusedMethod) return undefined;
    throw error;
  } finally {
    await transport.close();
  }
}

/** The server answers no HEAD. */
class RefusedMethod extends Error {}

async function follow(
  transport: RegistryTransport,
  first: URL,
  what: string,
  ask: { method?: "GET" | "HEAD"; headers?: Record<string, string>; attempts?: Attempts } = {},
): Promise<Answer> {
  const authorization = authorizationOf(first);
  let url = first;
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const headers: Record<string, string> = { "accept-encoding": "identity", ...ask.headers };
    if (authorization !== undefined && url.origin === first.origin) headers.authorization = authorization;
    const response = await transport.request(url, what, { ...ask, headers });
    const isPart = ask.headers?.range !== undefined && [206, 416].includes(response.statusCode);
    if (response.statusCode === 200 || isPart) return { url, response };
    await response.body.dump();
    if (ask.method === "HEAD" && [405, 501].includes(response.statusCode)) throw new RefusedMethod();
    const { location } = response.headers;
    if (![301, 302, 303, 307, 308].includes(response.statusCode) || typeof location !== "string") {
      throw badStatus({ response, url }, what);
    }
    url = redirected(url, location, what);
  }
  throw new DrydockError(
    "upstream",
    `read ${what}: ${first.host} redirects more than ${mostRedirects} times`,
  );
}

function badStatus({ response, url }: Answer, what: string): DrydockError {
  const { statusCode, gaveUp = "" } = response;
  return new DrydockError("upstream", `read ${what}: ${gaveUp}${url.host} answers ${statusCode}`, {
    hint: statusHints.get(statusCode),
  });
}

const statusHints = new Map([
  [401, "It wants a user and a password: https://USER:PASSWORD@HOST/…"],
  [403, "The server refuses it: has the address expired, or does it want credentials?"],
  [404, "Is the address right?"],
]);

/** What came over TLS must not go on without it. */
function redirected(from: URL, location: string, what: string): URL {
  const to = URL.parse(location, from);
  if (to?.protocol === "https:" || (to?.protocol === "http:" && from.protocol === "http:")) return to;
  const target = to === null ? "something that is no URL" : `${to.protocol}//${to.host}`;
  throw new DrydockError("upstream", `read ${what}: ${from.protocol}//${from.host} redirects to ${target}`);
}

/** The quoted text could hold a password, so that it is not quoted. */
function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "https:" || url.protocol === "http:")) return url;
  throw new DrydockError("input", "read a URL: it does not begin with https:// or http:// and a host");
}

/** RFC 7617. @throws DrydockError "input" if everybody on the way could read the password */
function authorizationOf(url: URL): string | undefined {
  if (url.username === "" && url.password === "") return undefined;
  if (url.protocol !== "https:") {
    throw new DrydockError("input", `read ${publicUrl(url.href)}: a password is not sent without TLS`, {
      hint: "Use https://, or leave user and password out.",
    });
  }
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return `Basic ${Buffer.from(credentials).toString("base64")}`;
}

async function* chunksOf(response: HttpResponse, url: URL, what: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* response.body;
  } catch (cause) {
    throw brokenOff(url, what, cause);
  }
}
