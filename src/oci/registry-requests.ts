/**
 * Requests to the HTTP API of one host: its challenge answered, its redirects followed by hand. Credentials
 * never go to another origin (scheme, host and port) than the host's own, whatever it redirects to;
 * registry-auth.ts says where else they may go.
 */
import { DrydockError } from "../errors.ts";
import type { Credentials } from "./credentials.ts";
import type { RepositoryReference } from "./reference.ts";
import { type AuthTarget, RegistryAuth, type TokenServers } from "./registry-auth.ts";
import { errorsOf, noRepository, notInRepository, unexpectedStatus } from "./registry-errors.ts";
import { discard, type HttpResponse, headerOf, type RegistryTransport } from "./registry-transport.ts";
import type { Attempts } from "./retry.ts";

/** What is asked, and of whom. */
export interface Question {
  /** the registry, or a mirror of it */
  host: string;
  repository: RepositoryReference;
  /** below /v2/REPOSITORY/ */
  path: string;
  /** names what is read, in errors */
  what: string;
}

export interface Answer {
  response: HttpResponse;
  /** where it came from in the end */
  url: URL;
}

export interface Ask {
  method?: "GET" | "HEAD";
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** see HttpRequest */
  large?: { lead: number } | undefined;
  attempts?: Attempts;
}

const mostRedirects = 8;

export class RegistryRequests {
  readonly #transport: RegistryTransport;
  readonly #auth: RegistryAuth;
  readonly #credentials: Credentials;

  constructor(transport: RegistryTransport, credentials: Credentials, tokenServers?: TokenServers) {
    this.#transport = transport;
    this.#auth = new RegistryAuth(transport, tokenServers);
    this.#credentials = credentials;
  }

  /** Any status is an answer. @throws DrydockError "upstream" if there is none, or it leads where we don't go. */
  async ask(question: Question, ask: Ask = {}): Promise<Answer> {
    const { what } = question;
    const target = await this.#target(question);
    const { headers = {}, ...request } = ask;
    let url = new URL(`/v2/${question.repository.repository}/${question.path}`, target.origin);
    let authorization = await this.#auth.header(target);
    let challenged = false;
    let atHome = true;
    for (let redirects = 0; redirects <= mostRedirects; ) {
      const own = atHome && authorization !== undefined ? { ...headers, authorization } : headers;
      const response = await this.#transport.request(url, what, { ...request, headers: own });
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

  /** The error for a status that is not 200. @param name the tag or digest asked for, of an image manifest */
  async failure({ response, url }: Answer, question: Question, name?: string): Promise<DrydockError> {
    const { host, repository, what } = question;
    const target = await this.#target(question);
    const { statusCode } = response;
    const said = await errorsOf(response, url, what);
    // Elsewhere (a storage server that it redirects to) no credentials were sent.
    if ([401, 403].includes(statusCode) && url.origin === target.origin.origin) {
      return this.#auth.refused(target, what, statusCode);
    }
    if (statusCode !== 404) return unexpectedStatus(response, said, url, what);
    const exists = !said.codes.includes("NAME_UNKNOWN") && (await this.#hasTags(question));
    return exists ? notInRepository(repository, name, what) : noRepository(repository, host, what);
  }

  async #target({ host, repository }: Question): Promise<AuthTarget> {
    return {
      host,
      // Docker Hub's API is on a host of its own.
      origin: this.#transport.originOf(host === "docker.io" ? "registry-1.docker.io" : host),
      repository: repository.repository,
      credential: await this.#credentials.forHost(host, repository.repository),
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

  /** Whether the repository is there. It is only for a better error, so a registry that does not tell is believed. */
  async #hasTags(question: Question): Promise<boolean> {
    try {
      const { response } = await this.ask({ ...question, path: "tags/list?n=1" });
      discard(response);
      return response.statusCode !== 404;
    } catch {
      return true;
    }
  }
}
