/**
 * Reads image manifests and blobs from registries and their mirrors over the HTTP API (OCI distribution
 * specification, "Pull" and "Listing Referrers"), without an engine.
 */
import { directUnit } from "../direct.ts";
import { DrydockError } from "../errors.ts";
import type { Credentials } from "./credentials.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";
import { type Descriptor, largestManifest, parseImageManifest } from "./image-manifest.ts";
import { acceptedManifests, bareMediaType, manifestKind, ociIndex } from "./media-types.ts";
import { formatReference, type Reference, type RepositoryReference } from "./reference.ts";
import type { TokenServers } from "./registry-auth.ts";
import { bareRepository, wrongBytes } from "./registry-errors.ts";
import { type Mirrors, RegistryHosts } from "./registry-hosts.ts";
import { type Answer, type Question, RegistryRequests } from "./registry-requests.ts";
import {
  discard,
  HostFailure,
  headerOf,
  RegistryTransport,
  readBody,
  type TransportOptions,
} from "./registry-transport.ts";
import { ResumedBody } from "./resumed-body.ts";

export interface RegistryClientOptions extends TransportOptions {
  credentials: Credentials;
  mirrors: Mirrors;
  /** none if left out */
  tokenServers?: TokenServers;
  /** what is here already; nothing if left out */
  kept?: KeptContent;
}

/** Image manifests and configs that need not be fetched: a registry counts each of them as a pull. */
export interface KeptContent {
  /** whether there is none: then nobody need be asked first what a tag names */
  isEmpty: boolean;
  /** One of at most `limit` bytes, verified; undefined if it is not here. */
  read(digest: Digest, limit: number): Promise<Buffer | undefined>;
  /** Takes one that was fetched. */
  add(digest: Digest, bytes: Buffer): Promise<void>;
}

export interface FetchedManifest {
  digest: Digest;
  /** as the server's Content-Type says; "" if it says nothing */
  mediaType: string;
  bytes: Buffer;
}

export interface BlobOptions {
  signal?: AbortSignal | undefined;
  /** the first byte that is wanted; 0 if left out */
  offset?: number;
  /** Where a page begins, counted from there: see HttpRequest.large. Not at all if left out. */
  lead?: number;
}

/** A blob's content at one host, and who else may have it. */
interface OpenedBlob {
  body: ResumedBody;
  host: string;
  others: string[];
}

const mostReferrerPages = 100;

export class RegistryClient {
  readonly #transport: RegistryTransport;
  readonly #requests: RegistryRequests;
  readonly #hosts: RegistryHosts;
  readonly #kept: RegistryClientOptions["kept"];
  /** the small blobs that were read: what the plan needed is not fetched again for the archive */
  readonly #small = new Map<Digest, Buffer>();

  constructor(options: RegistryClientOptions) {
    this.#transport = new RegistryTransport(options);
    this.#requests = new RegistryRequests(this.#transport, options.credentials, options.tokenServers);
    this.#hosts = new RegistryHosts(options.mirrors, options.note);
    this.#kept = options.kept;
  }

  /** The host that is asked first for what this registry holds: a mirror, or itself. */
  hostFor(registry: string): string {
    return this.#hosts.of(registry)[0] ?? registry;
  }

  /**
   * What the reference names: by its digest if it has one, else by its tag.
   * @throws DrydockError "upstream" (no such tag, refused, cannot reach) or "integrity" (the bytes do not
   *   have the digest that the reference or the server says).
   */
  async resolve(reference: Reference, signal?: AbortSignal): Promise<FetchedManifest> {
    const { tag = "latest", digest } = reference;
    return await this.#manifest(reference, digest ?? tag, formatReference(reference), signal);
  }

  /** @throws as resolve. */
  async manifest(
    repository: RepositoryReference,
    digest: Digest,
    signal?: AbortSignal,
  ): Promise<FetchedManifest> {
    const what = formatReference({ ...bareRepository(repository), digest });
    return await this.#manifest(repository, digest, what, signal);
  }

  /** What a tag or a digest names; undefined if the repository does not have it. @throws as resolve. */
  async find(repository: RepositoryReference, name: string): Promise<FetchedManifest | undefined> {
    const what = `${formatReference(bareRepository(repository))}${name.includes(":") ? "@" : ":"}${name}`;
    const here = await this.#manifestHere(name);
    if (here) return here;
    const hosts = this.#hosts.of(repository.registry);
    return await this.#hosts.first(hosts, name.includes(":"), (host) => {
      return this.#manifestAt({ host, repository, path: `manifests/${name}`, what }, name, undefined, true);
    });
  }

  /**
   * What refers to an image manifest, by the API ("Listing Referrers").
   * @returns undefined if the registry has no such API; then there may be a tag: see referrersTag
   * @throws DrydockError as resolve.
   */
  async referrers(repository: RepositoryReference, digest: Digest): Promise<Descriptor[] | undefined> {
    const what = `referrers of ${formatReference({ ...bareRepository(repository), digest })}`;
    let answered = false;
    // A mirror that knows of none may be one that does not pass the question on.
    const found = await this.#hosts.first(this.#hosts.of(repository.registry), false, async (host) => {
      const list = await this.#referrersAt({ host, repository, path: `referrers/${digest}`, what });
      answered ||= list !== undefined;
      return list?.length === 0 ? undefined : list;
    });
    return found ?? (answered ? [] : undefined);
  }

  /**
   * The content of a blob, as it comes; where its connection breaks it goes on at that byte, at another host
   * if this one fails for good. Whoever hashes it finds wrong bytes; here lengths are compared. Read it to
   * its end or leave the loop, else its connection stays in use.
   * @throws DrydockError "upstream" (also while it is read), "integrity" if it has not the descriptor's
   *   length; `signal`'s reason once that is aborted.
   */
  async blob(
    repository: RepositoryReference,
    descriptor: Pick<Descriptor, "digest" | "size">,
    options: BlobOptions = {},
  ): Promise<AsyncIterable<Uint8Array>> {
    const { signal, offset = 0, lead } = options;
    const { digest, size } = descriptor;
    const rest = offset > 0 && offset === size ? Buffer.alloc(0) : this.#small.get(digest)?.subarray(offset);
    if (rest) return once(rest);
    const what = `blob ${formatReference({ ...bareRepository(repository), digest })}`;
    const page = lead === undefined ? undefined : offset + lead;
    const open = (hosts: readonly string[], at: number) =>
      this.#openBlob({ repository, path: `blobs/${digest}`, what }, hosts, {
        size,
        offset: at,
        page,
        signal,
      });
    const opened = await open(this.#hosts.of(repository.registry), offset);
    return this.#blobContent(opened, open);
  }

  /** A config, whole and verified. @throws as blob, and DrydockError "integrity" if it is not what the descriptor says. */
  async smallBlob(repository: RepositoryReference, descriptor: Descriptor): Promise<Buffer> {
    const { digest, size } = descriptor;
    const what = `blob ${formatReference({ ...bareRepository(repository), digest })}`;
    if (size > largestManifest) {
      throw new DrydockError(
        "upstream",
        `read ${what}: a config of ${size} bytes is over ${largestManifest}`,
      );
    }
    const here = await this.#kept?.read(digest, largestManifest);
    const bytes = here ?? Buffer.concat(await Array.fromAsync(await this.blob(repository, descriptor)));
    if (bytes.length === size && digestOf(bytes) === digest) {
      if (here === undefined) await this.#kept?.add(digest, bytes);
      this.#small.set(digest, bytes);
      return bytes;
    }
    throw new DrydockError("integrity", `read ${what}: the bytes are not of that digest, or not ${size}`, {
      hint: wrongBytes,
    });
  }

  /** Whether the registry has the blob. @throws DrydockError "upstream" if it does not say. */
  async hasBlob(repository: RepositoryReference, digest: Digest, signal?: AbortSignal): Promise<boolean> {
    const what = `blob ${formatReference({ ...bareRepository(repository), digest })}`;
    const found = await this.#hosts.first(this.#hosts.of(repository.registry), true, async (host) => {
      const question = { host, repository, path: `blobs/${digest}`, what };
      const answer = await this.#requests.ask(question, { method: "HEAD", signal });
      discard(answer.response);
      if (answer.response.statusCode === 200) return true;
      if (answer.response.statusCode === 404) return undefined;
      throw await this.#requests.failure(answer, question);
    });
    return found ?? false;
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #manifest(
    repository: RepositoryReference,
    name: string,
    what: string,
    signal: AbortSignal | undefined,
  ): Promise<FetchedManifest> {
    const here = await this.#manifestHere(name);
    if (here) return here;
    const found = await this.#hosts.first(
      this.#hosts.of(repository.registry),
      name.includes(":"),
      async (host) => {
        const question = { host, repository, path: `manifests/${name}`, what };
        return await this.#manifestAt(question, name, signal, false);
      },
    );
    if (found === undefined) throw new Error(`${what}: neither found nor an error`);
    return found;
  }

  /** One that is here already. @param name a digest: what a tag names only the registry knows */
  async #manifestHere(name: string, mediaType = ""): Promise<FetchedManifest | undefined> {
    const bytes = isDigest(name) ? await this.#kept?.read(name, largestManifest) : undefined;
    return bytes && { digest: digestOf(bytes), mediaType, bytes };
  }

  /** What the host says that a tag names, where that is here. HEAD is no pull. */
  async #taggedHere(
    question: Question,
    signal: AbortSignal | undefined,
  ): Promise<FetchedManifest | undefined> {
    if (this.#kept === undefined || this.#kept.isEmpty) return undefined;
    const headers = { accept: acceptedManifests };
    const { response } = await this.#requests.ask(question, { method: "HEAD", headers, signal });
    discard(response);
    if (response.statusCode !== 200) return undefined;
    const mediaType = bareMediaType(headerOf(response, "content-type") ?? "");
    return await this.#manifestHere(headerOf(response, "docker-content-digest") ?? "", mediaType);
  }

  /** @param mayLack whether 404 is an answer, undefined, and no error */
  async #manifestAt(
    question: Question,
    name: string,
    signal: AbortSignal | undefined,
    mayLack: boolean,
  ): Promise<FetchedManifest | undefined> {
    const { what } = question;
    const here = name.includes(":") ? undefined : await this.#taggedHere(question, signal);
    if (here) return here;
    const answer = await this.#whole(question, acceptedManifests, signal);
    const { response, url, bytes } = answer;
    if (response.statusCode === 404 && mayLack) {
      discard(response);
      return undefined;
    }
    if (bytes === undefined) throw await this.#requests.failure(answer, question, name);
    const mediaType = bareMediaType(headerOf(response, "content-type") ?? "");
    const digest = digestOf(bytes);
    const announced = headerOf(response, "docker-content-digest");
    // A schema 1 manifest's digest is not that of its bytes: its kind is for the caller to name.
    if (manifestKind(mediaType) !== "schema1" && announced !== undefined && announced !== digest) {
      throw new DrydockError(
        "integrity",
        `read ${what}: ${url.host} announces ${JSON.stringify(announced)}, its bytes are ${digest}`,
        { hint: wrongBytes },
      );
    }
    if (name.includes(":") && name !== digest) {
      throw new DrydockError("integrity", `read ${what}: the bytes that ${url.host} sends are ${digest}`, {
        hint: wrongBytes,
      });
    }
    await this.#kept?.add(digest, bytes);
    return { digest, mediaType, bytes };
  }

  /** An answer with its body, if it is a 200; one that breaks off is asked for again. */
  async #whole(
    question: Question,
    accept: string,
    signal: AbortSignal | undefined,
  ): Promise<Answer & { bytes?: Buffer }> {
    const attempts = this.#transport.attempts();
    for (;;) {
      const answer = await this.#requests.ask(question, { headers: { accept }, signal, attempts });
      if (answer.response.statusCode !== 200) return answer;
      try {
        const bytes = await readBody(
          answer.response,
          answer.url,
          question.what,
          largestManifest,
          () => attempts.story,
        );
        return { ...answer, bytes };
      } catch (error) {
        if (!(error instanceof HostFailure) || !(await this.#transport.pause(attempts, signal))) throw error;
      }
    }
  }

  /** All pages; undefined if this host has no such API. */
  async #referrersAt(question: Question): Promise<Descriptor[] | undefined> {
    const found: Descriptor[] = [];
    let path = question.path;
    for (let page = 0; page < mostReferrerPages; page += 1) {
      const answer = await this.#whole({ ...question, path }, ociIndex, undefined);
      const { response, url, bytes } = answer;
      if ([400, 404, 405, 406, 501].includes(response.statusCode) && page === 0) {
        discard(response);
        return undefined;
      }
      if (bytes === undefined) throw await this.#requests.failure(answer, question);
      // Some answer every path with a page for people.
      if (bareMediaType(headerOf(response, "content-type") ?? "") !== ociIndex) return undefined;
      found.push(...parseImageManifest(bytes, ociIndex, question.what).children);
      const next = nextPage(headerOf(response, "link"), url);
      if (next === undefined) return found;
      path = `${question.path}${next}`;
    }
    throw new DrydockError("upstream", `read ${question.what}: over ${mostReferrerPages} pages`);
  }

  /** At the first of the hosts that has it. */
  async #openBlob(
    question: Omit<Question, "host">,
    hosts: readonly string[],
    blob: { size: number; offset: number; page: number | undefined; signal: AbortSignal | undefined },
  ): Promise<OpenedBlob> {
    const { size, offset, page, signal } = blob;
    const found = await this.#hosts.first(hosts, true, async (host) => {
      const at = { ...question, host };
      const source = {
        open: (headers: Record<string, string>, attempts: ReturnType<RegistryTransport["attempts"]>) =>
          this.#requests.ask(at, { headers, signal, attempts, large: largeFrom(body.at, page) }),
        failure: (answer: Answer) => this.#requests.failure(answer, at),
        size,
        what: question.what,
        signal,
      };
      const body = new ResumedBody(this.#transport, source, offset);
      await body.open();
      return { body, host, others: hosts.slice(hosts.indexOf(host) + 1) };
    });
    if (found === undefined) throw new Error(`${question.what}: neither found nor an error`);
    return found;
  }

  async *#blobContent(
    first: OpenedBlob,
    open: (hosts: readonly string[], offset: number) => Promise<OpenedBlob>,
  ): AsyncGenerator<Uint8Array, void> {
    let { body, host, others } = first;
    for (;;) {
      try {
        return yield* body.chunks();
      } catch (error) {
        if (!(error instanceof HostFailure) || others.length === 0) throw error;
        this.#hosts.failed(host, error, others[0]);
      }
      ({ body, host, others } = await open(others, body.at));
    }
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Uint8Array, void> {
  if (bytes.length > 0) yield bytes;
}

/** @param at the first byte that will come @param page a byte of the blob at which a page begins */
function largeFrom(at: number, page: number | undefined): { lead: number } | undefined {
  if (page === undefined) return undefined;
  return { lead: (((page - at) % directUnit) + directUnit) % directUnit };
}

/** The query of the next page (RFC 8288), if it is one of the same list; we never leave that. */
function nextPage(link: string | undefined, url: URL): string | undefined {
  const [, target] = /<([^>]*)>\s*;[^,]*\brel="?next\b/i.exec(link ?? "") ?? [];
  const next = target === undefined ? null : URL.parse(target, url.href);
  return next?.origin === url.origin && next.pathname === url.pathname ? next.search : undefined;
}
