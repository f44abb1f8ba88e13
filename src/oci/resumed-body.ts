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
}

export class ResumedBody {
  readonly #transport: RegistryTransport;
  readonly #source: BodySource;
  readonly #attempts: Attempts;
  #at: number;
  #etag: string | undefined;
  #takesRanges = true;
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
    this.#opened = { response, url, skip: response.statusCode === 206 ? 0 : this.#at };
  }

  async #connect(): Promise<Opened> {
    for (;;) {
      const { response, url } = await this.#source.open(this.#headers(), this.#attempts);
      const { statusCode } = response;
      const ranged = this.#takesRanges && this.#at > 0;
      if (ranged && statusCode === 206 && this.#beginsRight(response)) {
        return { response, url, skip: 0 };
      }
      if (ranged && (statusCode === 206 || statusCode === 416)) {
        discard(response);
        this.#takesRanges = false;
        continue;
      }
      if (statusCode !== 200) throw await this.#source.failure({ response, url });
      const announced = headerOf(response, "content-length");
      if (announced === undefined || Number(announced) === this.#source.size) {
        this.#etag = strong(headerOf(response, "etag"));
        return { response, url, skip: this.#at };
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
      let cause: unknown;
      try {
        yield* this.#rest(opened);
        if (this.#at === this.#source.size) return;
        cause = new Error(`it ends after ${this.#at} of ${this.#source.size} bytes`);
      } catch (error) {
        if (error instanceof DrydockError) throw error;
        this.#source.signal?.throwIfAborted();
        cause = error;
      }
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
    if (this.#at === 0 || !this.#takesRanges) return {};
    const range = { range: `bytes=${this.#at}-` };
    return this.#etag === undefined ? range : { ...range, "if-range": this.#etag };
  }

  /** That the part begins at our byte, of a whole of the right length, of the same content as before. */
  #beginsRight(response: HttpResponse): boolean {
    const range = contentRange(response);
    const etag = strong(headerOf(response, "etag"));
    const same = this.#etag === undefined || etag === undefined || etag === this.#etag;
    const fits = range?.total === undefined || range.total === this.#source.size;
    return range?.start === this.#at && fits && same;
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

/** Which part an answer of status 206 is: RFC 9110, 14.4. @returns undefined if it doesn't say */
export function contentRange(response: HttpResponse): { start: number; total?: number } | undefined {
  const text = headerOf(response, "content-range") ?? "";
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(text) ?? [];
  if (start === undefined) return undefined;
  return { start: Number(start), ...(total === "*" ? {} : { total: Number(total) }) };
}

/** A weak one (W/"…") does not promise the same bytes: RFC 9110, 8.8.1. */
function strong(etag: string | undefined): string | undefined {
  return etag?.startsWith('"') === true ? etag : undefined;
}
