/**
 * References to images, `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`: the grammar of distribution's
 * reference/reference.go, and Docker's way of filling in what is left out (reference/normalize.go).
 *
 *   alpine                      → docker.io / library/alpine : latest
 *   quay.io/prometheus/x:v1     → quay.io / prometheus/x : v1
 *   localhost:5000/x@sha256:…   → localhost:5000 / x @ sha256:…
 */
import { DrydockError } from "../errors.ts";
import { type Digest, isDigest } from "./digest.ts";

export interface Reference {
  /** a host, with its port if it is named; `docker.io` for Docker Hub */
  registry: string;
  /** `library/alpine`: without the registry */
  repository: string;
  tag?: string;
  digest?: Digest;
}

/** A repository and the registry it is in. */
export type RepositoryReference = Pick<Reference, "registry" | "repository">;

const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
const hostPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);

/** Lower-case components of letters and digits, joined inside by `.`, `_`, `__` or dashes; 255 characters in all. */
export function isRepositoryName(text: string): boolean {
  return text.length <= 255 && repositoryPattern.test(text);
}

/** 1 to 128 letters, digits, `_`, `.` and `-`; the first is none of the last two. */
export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/** A host name or an address, with or without a port: `quay.io`, `10.0.0.1:5000`, `[::1]:5000`. */
export function isRegistryHost(text: string): boolean {
  return hostPattern.test(text);
}

/**
 * The tag is `latest` only where neither a tag nor a digest is given.
 * @throws DrydockError "input" that quotes the text and says which part is wrong.
 */
export function parseReference(text: string): Reference {
  const [named = "", digest, ...more] = text.split("@");
  if (digest !== undefined && (more.length > 0 || !isDigest(digest))) {
    throw wrong(
      text,
      "what follows @ is not a sha256 digest",
      "A digest is sha256: and 64 hexadecimal digits.",
    );
  }
  // A colon in the last component begins a tag; one before that belongs to the registry's port.
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const name = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !isTag(tag)) {
    throw wrong(
      text,
      `${JSON.stringify(tag)} is not a tag`,
      "A tag is 1 to 128 letters, digits, _, . and -, and begins with none of the last two.",
    );
  }
  const { registry, repository } = splitName(text, name);
  return {
    registry,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest: digest as Digest }),
    ...(tag === undefined && digest === undefined ? { tag: "latest" } : {}),
  };
}

/** The whole reference, nothing left out: `docker.io/library/alpine:3.20`. */
export function formatReference(reference: Reference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/** The first component is a registry where it looks like a host: a dot, a colon, a capital, or localhost. */
function splitName(text: string, name: string): RepositoryReference {
  if (/^[0-9a-f]{64}$/.test(name)) {
    throw wrong(
      text,
      "64 hexadecimal digits are not a name",
      "Write REPOSITORY@sha256:… for an image by digest.",
    );
  }
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  const registry = !isHost || first === "index.docker.io" ? "docker.io" : first;
  const rest = isHost ? name.slice(slash + 1) : name;
  const repository = registry === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest;
  if (!isRegistryHost(registry)) {
    throw wrong(
      text,
      `${JSON.stringify(first)} is not a registry's host`,
      "Write HOST or HOST:PORT, no URL.",
    );
  }
  if (!isRepositoryName(repository)) {
    const lower = rest.toLowerCase();
    const hint =
      lower !== rest && isRepositoryName(lower)
        ? `Repository names are in lower case: ${lower}.`
        : "A repository is lower-case letters and digits, joined by . _ - and /, 255 characters at most.";
    throw wrong(text, `${JSON.stringify(rest)} is not a repository's name`, hint);
  }
  return { registry, repository };
}

function wrong(text: string, why: string, hint: string): DrydockError {
  const scheme = /^[a-z-]+:\/\//i.test(text);
  return new DrydockError("input", `read reference ${JSON.stringify(text)}: ${why}`, {
    hint: scheme ? "A reference has no scheme such as https:// in front." : hint,
  });
}
