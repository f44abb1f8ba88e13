/**
 * Credentials for registries, where Docker and Podman keep them: `$REGISTRY_AUTH_FILE`, Podman's and
 * skopeo's `containers/auth.json` (containers-auth.json(5)), and Docker's `config.json` in $DOCKER_CONFIG or
 * ~/.docker; each with its `auths`, `credHelpers` and `credsStore`. What they hold never stands in an error,
 * not even as the text of a JSON error.
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { DrydockError, errorCode, fileErrorText } from "../errors.ts";
import { askHelper } from "./credential-helper.ts";
import type { Environment } from "./proxy.ts";

export type Credential = (
  | { kind: "password"; user: string; password: string }
  /** an OAuth2 refresh token, as `docker login` gets it from some registries */
  | { kind: "identity-token"; token: string }
) & {
  /** where it is from, for an error, if it is not Docker's config.json: "of docker-credential-pass" */
  from?: string;
};

export interface Credentials {
  /**
   * @param host `quay.io`, `10.0.0.1:5000`; `docker.io` for Docker Hub
   * @param repository of it, since some have credentials of their own
   * @throws DrydockError "input" if a helper that is named for the host fails, or an entry is not what it should be.
   */
  forHost(host: string, repository: string): Credential | undefined | Promise<Credential | undefined>;
}

export const noCredentials: Credentials = { forHost: () => undefined };

/** The same registry goes by several names in the files. */
const hubNames = new Set(["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"]);
const hubServer = "https://index.docker.io/v1/";

/** One file, its keys as hostOf gives them: "quay.io", "quay.io/team". */
interface CredentialFile {
  path: string;
  /** for `Credential.from` */
  from: string | undefined;
  auths: Map<string, unknown>;
  helpers: Map<string, string>;
  /** the helper for all other hosts */
  store: string | undefined;
}

/**
 * Reads the files; without any there are no credentials. Where two know the host, the first wins.
 * @throws DrydockError "input" if one can't be read or is not JSON, or an entry's secret is garbled.
 */
export async function readCredentials(environment: Environment = process.env): Promise<Credentials> {
  const files: CredentialFile[] = [];
  for (const { path, from, named } of placesOf(environment)) {
    const config = await readConfig(path, named);
    if (config !== undefined) files.push(parseFile(path, from, config));
  }
  const asked = new Map<string, Promise<Credential | undefined>>();
  const helper = (name: string, server: string) => {
    const key = `${name} ${server}`;
    const answer = asked.get(key) ?? fromHelper(name, server, environment);
    asked.set(key, answer);
    return answer;
  };
  return {
    async forHost(host, repository) {
      for (const file of files) {
        const found = await lookUp(file, `${hostOf(host)}/${repository}`, helper);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

/** In the order in which they are asked. `named`: the user said that it is there. */
function placesOf(environment: Environment): { path: string; from?: string; named?: boolean }[] {
  const home = environment.HOME ?? homedir();
  const { REGISTRY_AUTH_FILE: file, DOCKER_CONFIG: folder, XDG_RUNTIME_DIR: runtime } = environment;
  const run = runtime || `/run/containers/${process.getuid?.() ?? 0}`;
  const podman = [
    join(run, runtime ? "containers/auth.json" : "auth.json"),
    join(environment.XDG_CONFIG_HOME || join(home, ".config"), "containers/auth.json"),
  ].map((path) => ({ path, from: `in ${JSON.stringify(path)}` }));
  const docker = { path: join(folder || join(home, ".docker"), "config.json") };
  return [
    ...(file ? [{ path: file, from: `in ${JSON.stringify(file)}`, named: true }] : []),
    ...(folder ? [docker, ...podman] : [...podman, docker]),
  ];
}

async function readConfig(file: string, named = false): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (!named && ["ENOENT", "ENOTDIR"].includes(errorCode(cause) ?? "")) return undefined;
    throw new DrydockError("input", `read credentials ${JSON.stringify(file)}: ${fileErrorText(cause)}`, {
      cause,
    });
  }
  try {
    const config: unknown = JSON.parse(text);
    if (isObject(config)) return config;
  } catch {
    // The error quotes what it read, so it is no cause to keep.
  }
  throw new DrydockError("input", `read credentials ${JSON.stringify(file)}: it is not a JSON object`, {
    hint: "Mend it, or set DOCKER_CONFIG or REGISTRY_AUTH_FILE to another place.",
  });
}

function parseFile(path: string, from: string | undefined, config: Record<string, unknown>): CredentialFile {
  const auths = new Map<string, unknown>();
  for (const [key, value] of Object.entries(isObject(config.auths) ? config.auths : {})) {
    // Checked now: a garbled entry is found before the first download.
    parseEntry(value, `${JSON.stringify(path)}: auths, ${JSON.stringify(hostOf(key))}`);
    // Where two keys mean one host, the plain host wins, as it does for Docker.
    if (key === hostOf(key) || !auths.has(hostOf(key))) auths.set(hostOf(key), value);
  }
  const helpers = new Map<string, string>();
  for (const [key, name] of Object.entries(isObject(config.credHelpers) ? config.credHelpers : {})) {
    if (typeof name === "string" && name !== "") helpers.set(hostOf(key), name);
  }
  const { credsStore } = config;
  const store = typeof credsStore === "string" && credsStore !== "" ? credsStore : undefined;
  return { path, from, auths, helpers, store };
}

/** As Docker does it: a helper before the file's own secrets. @param name host and repository */
async function lookUp(
  file: CredentialFile,
  name: string,
  helper: (name: string, server: string) => Promise<Credential | undefined>,
): Promise<Credential | undefined> {
  const keys = keysFor(name);
  const host = keys.at(-1) ?? name;
  const special = keys.find((key) => file.helpers.has(key));
  const program = (special === undefined ? undefined : file.helpers.get(special)) ?? file.store;
  const servers = host === "docker.io" ? [hubServer, host] : [special ?? host];
  let failure: unknown;
  for (const server of program === undefined ? [] : servers) {
    try {
      const found = await helper(program ?? "", server);
      if (found !== undefined) return found;
    } catch (error) {
      failure ??= error;
    }
  }
  for (const key of keys) {
    const found = parseEntry(file.auths.get(key), JSON.stringify(file.path));
    if (found !== undefined) return file.from === undefined ? found : { ...found, from: file.from };
  }
  // Docker notes under `auths` where one has logged in. Of any other host a broken store knows nothing.
  const isNamed = special !== undefined || keys.some((key) => file.auths.has(key));
  if (failure !== undefined && isNamed) throw failure;
  return undefined;
}

/** quay.io/team/app → itself, quay.io/team, quay.io: the longest that is there counts. */
function keysFor(name: string): string[] {
  const parts = name.split("/");
  return parts.map((_, at) => parts.slice(0, parts.length - at).join("/"));
}

async function fromHelper(
  name: string,
  server: string,
  environment: Environment,
): Promise<Credential | undefined> {
  const answer = await askHelper(name, server, environment);
  if (answer === undefined) return undefined;
  const from = `of docker-credential-${name}`;
  const { user, secret } = answer;
  return user === "<token>"
    ? { kind: "identity-token", token: secret, from }
    : { kind: "password", user, password: secret, from };
}

/**
 * `https://index.docker.io/v1/` and `https://quay.io/v2/` name the hosts docker.io and quay.io; without a
 * scheme, a path is that of repositories (containers-auth.json(5)).
 */
function hostOf(key: string): string {
  const bare = key.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  const slash = bare.indexOf("/");
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const path = slash < 0 || bare !== key.replace(/\/+$/, "") ? "" : bare.slice(slash);
  const isApi = path === "/v1" || path === "/v2";
  return `${hubNames.has(host) ? "docker.io" : host}${isApi ? "" : path}`;
}

/** undefined for an entry that is empty: `docker login` leaves one where the secret is in a credential store. */
function parseEntry(value: unknown, where: string): Credential | undefined {
  if (!isObject(value)) return undefined;
  const { auth, username, password, identitytoken } = value;
  if (typeof identitytoken === "string" && identitytoken !== "") {
    return { kind: "identity-token", token: identitytoken };
  }
  if (typeof auth === "string" && auth !== "") {
    const [, user, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(auth, "base64").toString("utf8")) ?? [];
    if (user === undefined || secret === undefined) {
      throw new DrydockError("input", `read credentials ${where}: auth is not the base64 of USER:PASSWORD`);
    }
    // Docker ends the password with NULs in some files.
    return { kind: "password", user, password: secret.replace(/\0+$/, "") };
  }
  if (typeof username === "string" && username !== "" && typeof password === "string") {
    return { kind: "password", user: username, password };
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
