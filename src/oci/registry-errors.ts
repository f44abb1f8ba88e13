/** What a registry's answers other than 200 mean, in words. */
import { DrydockError } from "../errors.ts";
import { formatReference, type RepositoryReference } from "./reference.ts";
import { HostFailure, type HttpResponse, readBody } from "./registry-transport.ts";

/** The registry's own words (OCI distribution specification, "Error Codes"). */
export interface RegistryWords {
  codes: string[];
  /** for people: short, without control characters, in parentheses; empty if it said nothing */
  text: string;
}

const largestErrorBody = 64 * 1024;

/** Reads them; a body that is none of the kind says nothing. */
export async function errorsOf(response: HttpResponse, url: URL, what: string): Promise<RegistryWords> {
  try {
    const body = await readBody(response, url, what, largestErrorBody);
    const { errors } = JSON.parse(body.toString("utf8")) as {
      errors: { code?: unknown; message?: unknown }[];
    };
    const codes = errors.map(({ code }) => String(code));
    const text = errors.map(({ code, message }) => `${code}: ${message}`).join("; ");
    return { codes, text: ` (${text.replace(/\p{Cc}/gu, " ").slice(0, 200)})` };
  } catch {
    return { codes: [], text: "" };
  }
}

/** What to do about bytes that have not the digest that they should have. */
export const wrongBytes =
  "Run it again; if it happens each time, the registry or something on the way (a proxy, a mirror) changes what it sends.";

/** A HostFailure, if the host is too busy or broken. */
export function unexpectedStatus(
  { statusCode, gaveUp = "" }: HttpResponse,
  said: RegistryWords,
  url: URL,
  what: string,
): DrydockError {
  const message = `read ${what}: ${gaveUp}${url.host} answers ${statusCode}${said.text}`;
  if (statusCode === 429) return new HostFailure(message, { hint: tooManyRequests });
  if (statusCode >= 500) return new HostFailure(message);
  const wantsTls = statusCode === 400 && url.protocol === "http:";
  return new DrydockError("upstream", message, {
    hint: wantsTls ? `Does ${url.host} want TLS? Then leave out --plain-http.` : undefined,
  });
}

const tooManyRequests =
  "It limits how much one may pull. Log in to it (docker login), wait, or name a mirror with --mirror.";

export function noRepository(repository: RepositoryReference, host: string, what: string): DrydockError {
  const name = JSON.stringify(repository.repository);
  return new DrydockError("upstream", `read ${what}: ${host} has no repository ${name}`, {
    hint: `Check the name's spelling; if it is private, log in with: docker login ${host}`,
  });
}

/** @param name the tag or digest of the image manifest that is absent; undefined if a blob is */
export function notInRepository(
  repository: RepositoryReference,
  name: string | undefined,
  what: string,
): DrydockError {
  const isTag = name !== undefined && !name.includes(":");
  const missing = name === undefined ? "blob" : isTag ? `tag ${JSON.stringify(name)}` : "digest";
  const list = `skopeo list-tags docker://${formatReference(bareRepository(repository))}`;
  return new DrydockError("upstream", `read ${what}: the repository is there, but has no such ${missing}`, {
    hint: isTag ? `See which there are: ${list}` : undefined,
  });
}

/** Without the tag or digest that it may have. */
export function bareRepository({ registry, repository }: RepositoryReference): RepositoryReference {
  return { registry, repository };
}
