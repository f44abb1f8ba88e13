/**
 * Reads image manifests and blobs from registries over their HTTP API (OCI distribution specification,
 * "Pull"), without an engine. Credentials never go to another origin (scheme, host and port) than the
 * registry's own, whatever it redirects to; registry-auth.ts says where else they may go.
 */
import { DrydockError } from "../errors.ts";
import type { Credentials } from "./credentials.ts";
import { type Digest, digestOf } from "./digest.ts";
import { type Descriptor, largestManifest } from "./image-manifest.ts";
import { acceptedManifests, bareMediaType, manifestKind } from "./media-types.ts";
import { formatReference, type Reference, type RepositoryReference } from "./reference.ts";
import { type AuthTarget, RegistryAuth, refused } from "./registry-auth.ts";
import {
  bareRepository,
  errorsOf,
  noRepository,
  notInRepository,
  unexpectedStatus,
  wrongBytes,
} from "./registry-errors.ts";
import {
  brokenOff,
  type HttpResponse,
  RegistryTransport,
  readBody,
  type TransportOptions,
} from "./registry-transport.ts";

export interface RegistryClientOptions extends TransportOptions {
  credentials: Credentials;
  /** registry → the host to ask in its place ("docker.io" → "mirror.lan:5000") */
  mirrors: ReadonlyMap<string, string>;
}

export interface FetchedManifest {
  digest: Digest;
  /** as the server's Content-Type says; "" if it says nothing */
  mediaType: string;
  bytes: Buffer;
}

interface Answer {
  response: HttpResponse;
  /** where it came from in the end */
  url: URL;
}

interface Ask {
  method?: "GET" | "HEAD";
  accept?: string;
  signal?: AbortSignal | undefined;
}

const mostRedirects = 8;

export class RegistryClient {
  readonly #transport: RegistryTransport;
  readonly #auth: RegistryAuth;
  readonly #credentials: Credentials;
  readonly #mirrors: ReadonlyMap<string, string>;

  constructor(options: RegistryClientOptions) {
    this.#transport = new RegistryTransport(options);
    this.#auth = new RegistryAuth(this.#transport);
    this.#credentials = options.credentials;
    this.#mirrors = options.mirrors;
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
    return await this.#manifest(
      repository,
      digest,
      formatReference({ ...bareRepository(repository), digest }),
      signal,
    );
  }

  /**
   * The content of a blob, as it comes. Whoever hashes it finds short or wrong bytes; here the announced
   * length is compared. Read it to its end or leave the loop, else its connection stays in use.
   * @throws DrydockError "upstream" (also while it is read, if the server breaks off), "integrity" if the
   *   announced length is not the descriptor's; `signal`'s reason once that is aborted.
   */
  async blob(
    repository: RepositoryReference,
    descriptor: Pick<Descriptor, "digest" | "size">,
    signal?: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const what = `blob ${formatReference({ ...bareRepository(repository), digest: descriptor.digest })}`;
    const { response, url } = await this.#ask(repository, `blobs/${descriptor.digest}`, what, { signal });
    if (response.statusCode !== 200) throw await this.#failure(response, url, repository, what);
    const announced = response.headers["content-length"];
    if (announced !== undefined && Number(announced) !== descriptor.size) {
      discard(response);
      throw new DrydockError(
        "integrity",
        `read ${what}: wanted ${descriptor.size} bytes, ${url.host} announces ${announced}`,
        { hint: wrongBytes },
      );
    }
    return contentOf(response, url, what, signal);
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
    const chunks: Uint8Array[] = [];
    let got = 0;
    for await (const chunk of await this.blob(repository, descriptor)) {
      got += chunk.length;
      if (got > size) break;
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    if (got === size && digestOf(bytes) === digest) return bytes;
    throw new DrydockError("integrity", `read ${what}: the bytes are not of that digest, or not ${size}`, {
      hint: wrongBytes,
    });
  }

  /** Whether the registry has the blob. @throws DrydockError "upstream" if it does not say. */
  async hasBlob(repository: RepositoryReference, digest: Digest, signal?: AbortSignal): Promise<boolean> {
    const what = `blob ${formatReference({ ...bareRepository(repository), digest })}`;
    const { response, url } = await this.#ask(repository, `blobs/${digest}`, what, {
      method: "HEAD",
      signal,
    });
    discard(response);
    if (response.statusCode === 200 || response.statusCode === 404) return response.statusCode === 200;
    throw await this.#failure(response, url, repository, what);
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
    const ask = { accept: acceptedManifests, signal };
    const { response, url } = await this.#ask(repository, `manifests/${name}`, what, ask);
    if (response.statusCode !== 200) throw await this.#failure(response, url, repository, what, name);
    const bytes = await readBody(response, url, what, largestManifest);
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
    return { digest, mediaType, bytes };
  }

  /** Asks the registry, answers its challenge, and follows it by hand to wherever it redirects. */
  async #ask(repository: RepositoryReference, path: string, what: string, ask: Ask): Promise<Answer> {
    const target = this.#target(repository);
    const { method = "GET", accept, signal } = ask;
    let url = new URL(`/v2/${repository.repository}/${path}`, target.origin);
    let authorization = await this.#auth.header(target);
    let challenged = false;
    let atHome = true;
    for (let redirects = 0; redirects <= mostRedirects; ) {
      const headers: Record<string, string> = accept === undefined ? {} : { accept };
      if (atHome && authorization !== undefined) headers.authorization = authorization;
      const response = await this.#transport.request(url, what, { method, headers, signal });
      const location = headerOf(response, "location");
      if (response.statusCode === 401 && atHome && !challenged) {
        challenged = true;
        discard(response);
        const challenges = response.headers["www-authenticate"];
        authorization = await this.#auth.answer(target, challenges, authorization, what);
      } else if ([301, 302, 303, 307, 308].includes(response.statusCode) && location !== undefined) {
        redirects += 1;
        discard(response);
        url = this.#redirect(url, location, what);
        atHome &&= url.origin === target.origin.origin;
      } else {
        return { response, url };
      }
    }
    throw new DrydockError(
      "upstream",
      `read ${what}: over ${mostRedirects} redirects, the last to ${url.host}`,
    );
  }

  #target(repository: RepositoryReference): AuthTarget {
    const mirror = this.#mirrors.get(repository.registry);
    const host = mirror ?? repository.registry;
    return {
      host,
      // Docker Hub's API is on a host of its own.
      origin: this.#transport.originOf(host === "docker.io" ? "registry-1.docker.io" : host),
      repository: repository.repository,
      credential: this.#credentials.forHost(host),
    };
  }

  #redirect(from: URL, location: string, what: string): URL {
    const url = URL.parse(location, from.href);
    if (url === null) throw new DrydockError("upstream", `read ${what}: ${from.host} redirects to no URL`);
    if (this.#transport.allows(url)) return url;
    throw new DrydockError("upstream", `read ${what}: ${from.host} redirects to ${url.host}, not over TLS`, {
      hint: `If you trust the way to it: --plain-http ${url.host}.`,
    });
  }

  /** The error for a status that is not 200. @param name the tag or digest asked for, of an image manifest */
  async #failure(
    response: HttpResponse,
    url: URL,
    repository: RepositoryReference,
    what: string,
    name?: string,
  ): Promise<DrydockError> {
    const { host, origin, credential } = this.#target(repository);
    const { statusCode } = response;
    const said = await errorsOf(response, url, what);
    // Elsewhere (a storage server that it redirects to) no credentials were sent.
    if ([401, 403].includes(statusCode) && url.origin === origin.origin) {
      return refused(host, what, statusCode, credential !== undefined);
    }
    if (statusCode !== 404) return unexpectedStatus(statusCode, said, url, what);
    const exists = !said.codes.includes("NAME_UNKNOWN") && (await this.#hasTags(repository, what));
    return exists ? notInRepository(repository, name, what) : noRepository(repository, host, what);
  }

  /** Whether the repository is there. It is only for a better error, so a registry that does not tell is believed. */
  async #hasTags(repository: RepositoryReference, what: string): Promise<boolean> {
    try {
      const { response } = await this.#ask(repository, "tags/list?n=1", what, {});
      discard(response);
      return response.statusCode !== 404;
    } catch {
      return true;
    }
  }
}

async function* contentOf(
  response: HttpResponse,
  url: URL,
  what: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body as AsyncIterable<Buffer>;
  } catch (cause) {
    signal?.throwIfAborted();
    throw brokenOff(url, what, cause);
  }
}

/** Lets go of an answer's body: the connection is used again if little is left of it, else it is closed. */
function discard(response: HttpResponse): void {
  response.body.dump({ limit: 64 * 1024 }).catch(() => {});
}

function headerOf(response: HttpResponse, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
