/**
 * Credentials for registries from Docker's own file, `config.json` in $DOCKER_CONFIG or ~/.docker: the
 * entries of `auths`. What it holds never stands in an error, not even as the text of a JSON error.
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { DrydockError, errorCode } from "../errors.ts";

export type Credential =
  | { kind: "password"; user: string; password: string }
  /** an OAuth2 refresh token, as `docker login` gets it from some registries */
  | { kind: "identity-token"; token: string };

export interface Credentials {
  /** @param host `quay.io`, `10.0.0.1:5000`; `docker.io` for Docker Hub */
  forHost(host: string): Credential | undefined;
}

export const noCredentials: Credentials = { forHost: () => undefined };

/** The same registry goes by several names in the file. */
const hubNames = new Set(["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"]);

/**
 * Reads the file; without one there are no credentials.
 * @throws DrydockError "input" if it can't be read, is not JSON, or an entry is not what Docker writes.
 */
export async function readCredentials(
  environment: Record<string, string | undefined> = process.env,
): Promise<Credentials> {
  const folder = environment.DOCKER_CONFIG ?? join(environment.HOME ?? homedir(), ".docker");
  const file = join(folder, "config.json");
  const auths = await readAuths(file);
  const found = new Map<string, Credential>();
  for (const [key, value] of Object.entries(auths)) {
    const credential = parseEntry(value, `${JSON.stringify(file)}: auths, ${JSON.stringify(hostOf(key))}`);
    // Where two keys mean one host, the plain host wins, as it does for Docker.
    if (credential !== undefined && (key === hostOf(key) || !found.has(hostOf(key)))) {
      found.set(hostOf(key), credential);
    }
  }
  return { forHost: (host) => found.get(hostOf(host)) };
}

async function readAuths(file: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (errorCode(cause) === "ENOENT" || errorCode(cause) === "ENOTDIR") return {};
    throw new DrydockError("input", `read credentials ${JSON.stringify(file)}: ${errorCode(cause)}`, {
      cause,
    });
  }
  try {
    const config: unknown = JSON.parse(text);
    if (isObject(config)) return isObject(config.auths) ? config.auths : {};
  } catch {
    // The error quotes what it read, so it is no cause to keep.
  }
  throw new DrydockError("input", `read credentials ${JSON.stringify(file)}: it is not a JSON object`, {
    hint: "Mend it, or set DOCKER_CONFIG to another folder.",
  });
}

/** `https://index.docker.io/v1/` and `https://quay.io/v2/` name the hosts docker.io and quay.io. */
function hostOf(key: string): string {
  const host = key
    .replace(/^https?:\/\//, "")
    .replace(/\/.*$/, "")
    .toLowerCase();
  return hubNames.has(host) ? "docker.io" : host;
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
