/**
 * How a registry is told who asks: Basic (RFC 7617), and Bearer tokens as in distribution's
 * docs/spec/auth/token.md and oauth.md.
 *
 * Where credentials go (compare CVE-2020-15157, where any server that a download was sent on to could ask
 * for them): a challenge is answered only if it came from the registry itself, never from where it
 * redirects to; the token server must be reached over TLS, or be named for plain HTTP; and it gets
 * credentials only if it is of the registry's own domain, as publicsuffix.org draws its border
 * (auth.docker.io for registry-1.docker.io, gitlab.example.com for registry.example.com), or if the user
 * has named it for that registry. Any other gets a request without credentials.
 */
import { DrydockError } from "../errors.ts";
import type { Credential } from "./credentials.ts";
import { type RegistryTransport, readBody } from "./registry-transport.ts";
import { isSameDomain } from "./same-domain.ts";

export interface AuthTarget {
  /** the registry as its user knows it: where to log in */
  host: string;
  origin: URL;
  repository: string;
  credential: Credential | undefined;
}

interface Challenge {
  scheme: string;
  parameters: Map<string, string>;
}

/** registry → the host of another domain that may have its credentials: "nvcr.io" → "authn.nvidia.com" */
export type TokenServers = ReadonlyMap<string, string>;

const largestToken = 1024 * 1024;

export class RegistryAuth {
  readonly #transport: RegistryTransport;
  readonly #tokenServers: TokenServers;
  /** origin and repository → the Authorization header in use, or on its way */
  readonly #headers = new Map<string, Promise<string>>();
  /** registry → the token server that was asked without the credentials that there are */
  readonly #withheld = new Map<string, string>();

  constructor(transport: RegistryTransport, tokenServers: TokenServers = new Map()) {
    this.#transport = transport;
    this.#tokenServers = tokenServers;
  }

  /** The Authorization header for a request, if the registry has asked for one before. */
  async header(target: AuthTarget): Promise<string | undefined> {
    return await this.#headers.get(keyOf(target));
  }

  /**
   * Answers a 401. Requests side by side that get one share one answer.
   * @param used the header that was refused
   * @throws DrydockError "upstream" if there is no answer, or the token server refuses.
   */
  async answer(
    target: AuthTarget,
    challenges: string | string[] | undefined,
    used: string | undefined,
    what: string,
  ): Promise<string> {
    const key = keyOf(target);
    const known = this.#headers.get(key);
    if (known !== undefined && (await known) !== used) return known;
    // Somebody else who waited for the same one may have begun already.
    const begun = this.#headers.get(key);
    if (begun !== undefined && begun !== known) return begun;
    const fresh = this.#authorize(target, parseChallenges(challenges), what);
    this.#headers.set(key, fresh);
    fresh.catch(() => this.#headers.delete(key));
    return fresh;
  }

  async #authorize(target: AuthTarget, challenges: Challenge[], what: string): Promise<string> {
    const bearer = challenges.find((challenge) => challenge.scheme === "bearer");
    if (bearer !== undefined) return `Bearer ${await this.#token(target, bearer, what)}`;
    const basic = challenges.some((challenge) => challenge.scheme === "basic");
    if (basic && target.credential?.kind === "password") return basicHeader(target.credential);
    throw this.refused(target, what, 401);
  }

  /** The error for a 401 or a 403. */
  refused({ host, credential }: AuthTarget, what: string, status: number): DrydockError {
    const withheld = this.#withheld.get(host);
    if (withheld !== undefined) {
      const why = `wants credentials; none went to ${withheld}, its token server, which is of another domain`;
      return new DrydockError("upstream", `read ${what}: ${host} ${why} (${status})`, {
        hint: `If ${withheld} may have those for ${host}: --token-server ${host}=${withheld}`,
      });
    }
    const why = credential
      ? `refuses the credentials ${credential.from ?? "in Docker's config.json"}`
      : "wants credentials, or there is no such repository";
    return new DrydockError("upstream", `read ${what}: ${host} ${why} (${status})`, {
      hint: `Log in with: docker login ${host}`,
    });
  }

  async #token(target: AuthTarget, challenge: Challenge, what: string): Promise<string> {
    const realm = this.#realm(challenge.parameters.get("realm") ?? "", target, what);
    const credential = this.#mayHave(realm, target) ? target.credential : undefined;
    if (credential !== target.credential) this.#withheld.set(target.host, realm.host);
    const fields = new URLSearchParams();
    const service = challenge.parameters.get("service");
    if (service !== undefined) fields.set("service", service);
    fields.set("scope", `repository:${target.repository}:pull`);
    const response = await this.#transport.request(
      ...(credential?.kind === "identity-token"
        ? refreshRequest(realm, fields, credential.token, what)
        : tokenRequest(realm, fields, credential, what)),
    );
    const body = await readBody(response, realm, `a token for ${what}`, largestToken);
    if ([400, 401, 403].includes(response.statusCode)) {
      throw this.refused(target, what, response.statusCode);
    }
    const token = response.statusCode === 200 ? tokenOf(body) : undefined;
    if (token !== undefined) return token;
    throw new DrydockError(
      "upstream",
      `read ${what}: wanted a token from ${realm.host}, got status ${response.statusCode}`,
    );
  }

  #mayHave(realm: URL, { host, origin }: AuthTarget): boolean {
    return isSameDomain(origin.hostname, realm.hostname) || this.#tokenServers.get(host) === realm.host;
  }

  #realm(text: string, target: AuthTarget, what: string): URL {
    const realm = URL.parse(text);
    const asks = `${target.origin.host} asks for a token from ${JSON.stringify(text)}`;
    if (realm === null || realm.username !== "" || realm.password !== "") {
      throw new DrydockError("upstream", `read ${what}: ${asks}, which is no URL to use`);
    }
    if (!this.#transport.allows(realm)) {
      throw new DrydockError("upstream", `read ${what}: ${asks}, which is not over TLS`, {
        hint: `If you trust the way to it: --plain-http ${realm.host}.`,
      });
    }
    return realm;
  }
}

type RequestArguments = Parameters<RegistryTransport["request"]>;

function tokenRequest(
  realm: URL,
  fields: URLSearchParams,
  credential: Credential | undefined,
  what: string,
): RequestArguments {
  const url = new URL(realm);
  for (const [name, value] of fields) url.searchParams.set(name, value);
  if (credential?.kind !== "password") return [url, what, {}];
  return [url, what, { headers: { authorization: basicHeader(credential) } }];
}

/** OAuth2 (oauth.md): the identity token is a refresh token. */
function refreshRequest(realm: URL, fields: URLSearchParams, token: string, what: string): RequestArguments {
  const body = new URLSearchParams(fields);
  body.set("grant_type", "refresh_token");
  body.set("client_id", "drydock");
  body.set("refresh_token", token);
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  return [realm, what, { method: "POST", headers, body: body.toString() }];
}

function basicHeader(credential: { user: string; password: string }): string {
  return `Basic ${Buffer.from(`${credential.user}:${credential.password}`).toString("base64")}`;
}

/** Under either name; nothing that could break out of a header. */
function tokenOf(body: Buffer): string | undefined {
  try {
    const answer: unknown = JSON.parse(body.toString("utf8"));
    if (typeof answer !== "object" || answer === null) return undefined;
    const { token, access_token: accessToken } = answer as Record<string, unknown>;
    const text = typeof token === "string" && token !== "" ? token : accessToken;
    return typeof text === "string" && /^[\x21-\x7e]+$/.test(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 9110, 11.6.1: schemes, each with its parameters, all in one header or in several. */
function parseChallenges(headers: string | string[] | undefined): Challenge[] {
  const challenges: Challenge[] = [];
  const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
  const part = new RegExp(`(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))|(${token})`, "g");
  for (const match of [headers ?? []].flat().join(", ").matchAll(part)) {
    const [, name, quoted, plain, scheme] = match;
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    else if (name !== undefined) {
      const value = quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "";
      challenges.at(-1)?.parameters.set(name.toLowerCase(), value);
    }
  }
  return challenges;
}

function keyOf(target: AuthTarget): string {
  return `${target.origin.origin} ${target.repository}`;
}
