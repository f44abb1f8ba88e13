/**
 * A body of known length that goes on where its connection broke (RFC 9110, 14: Range, Content-Range,
 * If-Range). The only place that does: a server that takes no ranges gives the whole again, of which the
 * bytes that came before are skipped. Whoever reads checks the digest over all of it.
 */
import { DrydockError } from "../errors.ts";
import { giveBack } from "../lent-buffers.ts";
import { wrongBytes } from "./registry-errors.ts";
import {
  brokenOff,
  discard,
  type HttpResponse,
  headerOf,
  type RegistryTransport,
} from "./registry-transport.ts";
import type { Attempts } from "./retry.ts";

export interface BodySource {
  /** Sends the request with these headers besides; any status is an answer. */
  open(
    headers: Record<string, string>,
    attempts: Attempts,
  ): Promise<{
    response: HttpResponse;
    url: URL;
  }>;
  /** the error for a status other than 200 and 206 */
  failure(answer: { response: HttpResponse; url: URL }): Promise<DrydockError>;
  /** of the whole, in bytes */
  size: number;
  /** names it in errors */
  what: string;
  signal?: AbortSignal | undefined;
}

interface Opened {
  response: HttpResponse;
  url: URL;
  /** bytes in front that came before */
  skip: number;
  /** where it ends by its own word: a part (206) may end before the whole does */
  end: number;
}

/** So many parts in a row that brought nothing, and the whole is asked for once. */
const mostBarren = 2;

export class ResumedBody {
  readonly #transport: RegistryTransport;
  readonly #source: BodySource;
  readonly #attempts: Attempts;
  #at: number;
  #etag: string | undefined;
  #takesRanges = true;
  /** parts in a row of which not a byte came */
  #barren = 0;
  #opened: Opened | undefined;

  /** @param offset the first byte that is wanted */
  constructor(transport: RegistryTransport, source: BodySource, offset = 0) {
    this.#transport = transport;
    this.#source = source;
    this.#at = offset;
    this.#attempts = transport.attempts();
  }

  /** The next byte that is to come. */
  get at(): number {
    return this.#at;
  }

  /**
   * Asks for it, until there is an answer that begins where it should.
   * @throws DrydockError "upstream" as `open` and `failure` say; "integrity" if it has another length.
   */
  async open(): Promise<void> {
    this.#opened = await this.#connect();
  }

  /** The same as open(), with an answer that is there already: 200, or 206 from the first byte wanted on. */
  begin(response: HttpResponse, url: URL): void {
    this.#etag = strong(headerOf(response, "etag"));
    this.#opened = this.#openedBy(response, url);
  }

  async #connect(): Promise<Opened> {
    for (;;) {
      const headers = this.#headers();
      const { response, url } = await this.#source.open(headers, this.#attempts);
      const { statusCode } = response;
      const ranged = headers.range !== undefined;
      if (!ranged) this.#barren = 0;
      if (ranged && statusCode === 206 && this.#isRight(response)) return this.#openedBy(response, url);
      if (ranged && (statusCode === 206 || statusCode === 416)) {
        discard(response);
        this.#takesRanges = false;
        continue;
      }
      if (statusCode !== 200) throw await this.#source.failure({ response, url });
      const announced = headerOf(response, "content-length");
      if (announced === undefined || Number(announced) === this.#source.size) {
        this.#etag = strong(headerOf(response, "etag"));
        return this.#openedBy(response, url);
      }
      discard(response);
      await this.#orGiveUp(this.#otherLength(url, announced));
    }
  }

  /** To be read once, after open(). @throws as open, also when it breaks off too often. */
  async *chunks(): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const opened = this.#opened ?? (await this.#connect());
      this.#opened = undefined;
      const began = this.#at;
      let cause: unknown;
      try {
        yield* this.#rest(opened);
        if (this.#at === this.#source.size) return;
        cause = new Error(`it ends after ${this.#at} of ${this.#source.size} bytes`);
        // Whoever counts its own bytes wrongly does so each time; a part that was meant to be short is none.
        if (opened.response.statusCode === 206 && this.#at < opened.end) this.#takesRanges = false;
      } catch (error) {
        if (error instanceof DrydockError) throw error;
        this.#source.signal?.throwIfAborted();
        // All came, and then something else went wrong.
        if (this.#at === this.#source.size) return;
        cause = error;
      }
      if (this.#at > began) this.#barren = 0;
      else if (opened.response.statusCode === 206) this.#barren += 1;
      await this.#orGiveUp((story) => brokenOff(opened.url, this.#source.what, cause, story));
    }
  }

  async *#rest({ response, url, skip }: Opened): AsyncGenerator<Uint8Array, void> {
    let skipped = 0;
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      const behind = Math.min(chunk.length, skip - skipped);
      skipped += behind;
      if (behind === chunk.length) {
        giveBack(chunk);
        continue;
      }
      const part = behind === 0 ? chunk : chunk.subarray(behind);
      if (this.#at + part.length > this.#source.size) throw this.#otherLength(url, "more")("");
      this.#at += part.length;
      this.#attempts.received(part.length);
      yield part;
    }
  }

  #headers(): Record<string, string> {
    if (this.#at === 0 || !this.#takesRanges || this.#barren >= mostBarren) return {};
    const range = { range: `bytes=${this.#at}-` };
    return this.#etag === undefined ? range : { ...range, "if-range": this.#etag };
  }

  #openedBy(response: HttpResponse, url: URL): Opened {
    const range = response.statusCode === 206 ? contentRange(response) : undefined;
    return { response, url, skip: range ? 0 : this.#at, end: range?.end ?? this.#source.size };
  }

  /** That the part begins at our byte and is as long as it says, of a whole of the right length, of the same content as before. */
  #isRight(response: HttpResponse): boolean {
    const range = contentRange(response);
    const length = headerOf(response, "content-length");
    if (range === undefined || (length ?? `${range.end - range.start}`) !== `${range.end - range.start}`)
      return false;
    const etag = strong(headerOf(response, "etag"));
    const same = this.#etag === undefined || etag === undefined || etag === this.#etag;
    const fits = range.total === undefined || range.total === this.#source.size;
    return range.start === this.#at && fits && same;
  }

  async #orGiveUp(failure: (story: string) => DrydockError): Promise<void> {
    if (await this.#transport.pause(this.#attempts, this.#source.signal)) return;
    throw failure(this.#attempts.story);
  }

  #otherLength(url: URL, announced: string): (story: string) => DrydockError {
    const { what, size } = this.#source;
    return (story) =>
      new DrydockError(
        "integrity",
        `read ${what}: ${story}wanted ${size} bytes, ${url.host} announces ${announced}`,
        { hint: wrongBytes },
      );
  }
}

/** Which part an answer of status 206 is: RFC 9110, 14.4. `end`: the byte after its last. @returns undefined if it doesn't say */
export function contentRange(
  response: HttpResponse,
): { start: number; end: number; total?: number } | undefined {
  const text = headerOf(response, "content-range") ?? "";
  const [, start, last, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(text) ?? [];
  if (start === undefined) return undefined;
  return { start: Number(start), end: Number(last) + 1, ...(total === "*" ? {} : { total: Number(total) }) };
}

/** A weak one (W/"…") does not promise the same bytes: RFC 9110, 8.8.1. */
function strong(etag: string | undefined): string | undefined {
  return etag?.startsWith('"') === true ? etag : undefined;
}
