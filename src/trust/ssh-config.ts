/**
 * SSH's own configuration, as `ssh -G` resolves it: Include, Match, Host and the defaults. It reads the calling
 * user's ~/.ssh/config and the system's /etc/ssh/ssh_config, and itself refuses a user's file that others may
 * write. Where OpenSSH is missing, its defaults hold.
 */
import { execFile } from "node:child_process";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import pLimit from "p-limit";
import { DrydockError, errorCode } from "../errors.ts";
import { asUser, type CallingUser } from "./calling-user.ts";
import { ClientFailure, type Hop } from "./client.ts";

/** What the configuration says about one host. */
export interface SshConfig {
  host: string;
  port: number;
  user: string;
  /** 4 or 6 where only this family is to be used */
  family?: 4 | 6;
  /** the name in known_hosts, without a port */
  alias?: string;
  /** absolute paths in order; those that ssh tries by itself are marked */
  keyFiles: { file: string; byDefault: boolean }[];
  identitiesOnly: boolean;
  /** a socket; undefined: none; left to the environment with "SSH_AUTH_SOCK" */
  agent: string | undefined;
  knownHostsFiles: string[];
  systemKnownHostsFiles: string[];
  hashKnownHosts: boolean;
  jumps: Hop[];
  /** with its tokens */
  proxyCommand?: string;
}

/** What is asked for; a value that is given wins over the configuration. */
export interface Asked {
  host: string;
  port?: number | undefined;
  user?: string | undefined;
}

const defaultKeyFiles = ["id_rsa", "id_ecdsa", "id_ed25519"];
const byDefault = /^~\/\.ssh\/id_(?:rsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss|dsa)$/;

/** Reads each distinct host once, four at a time. */
export class SshConfigs {
  readonly #user: CallingUser;
  readonly #file: string | undefined;
  readonly #read = new Map<string, Promise<SshConfig>>();
  readonly #limit = pLimit(4);
  /** whether there is an `ssh` to ask; undefined before the first question */
  present: boolean | undefined;

  /** @param file in place of the user's and the system's; "none" for none, as with `ssh -F` */
  constructor(user: CallingUser, file?: string) {
    this.#user = user;
    this.#file = file;
  }

  /** @throws DrydockError "input" if the configuration can't be read, ClientFailure if it can't be followed */
  of(asked: Asked): Promise<SshConfig> {
    const id = JSON.stringify([asked.host, asked.port, asked.user]);
    let config = this.#read.get(id);
    if (config === undefined) {
      config = this.#limit(() => this.#resolve(asked));
      this.#read.set(id, config);
    }
    return config;
  }

  async #resolve(asked: Asked): Promise<SshConfig> {
    checkHost(asked.host);
    checkUser(asked.user);
    const output = await this.#ask(asked);
    this.present = output !== undefined;
    return output === undefined ? this.#defaults(asked) : parse(output, asked, this.#user);
  }

  /** @returns undefined without OpenSSH */
  async #ask({ host, port, user }: Asked): Promise<string | undefined> {
    const words = ["-G", "-T"];
    if (this.#file !== undefined) words.push("-F", this.#file);
    if (port !== undefined) words.push("-p", String(port));
    if (user !== undefined) words.push("-l", user);
    const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
    const child = execFile("ssh", [...words, "--", host], asUser(this.#user), (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (errorCode(error) === "ENOENT") resolve(undefined);
      else reject(unreadable(host, stderr, error));
    });
    child.stdin?.end();
    return await promise;
  }

  #defaults({ host, port = 22, user = this.#user.name }: Asked): SshConfig {
    const own = join(this.#user.home, ".ssh");
    return {
      ...{ host, port, user, identitiesOnly: false, hashKnownHosts: false, jumps: [] },
      agent: process.env.SSH_AUTH_SOCK,
      keyFiles: defaultKeyFiles.map((name) => ({ file: join(own, name), byDefault: true })),
      knownHostsFiles: [join(own, "known_hosts")],
      systemKnownHostsFiles: ["/etc/ssh/ssh_known_hosts"],
    };
  }
}

/** ssh would take a name that begins with "-" as an option, and ProxyCommand puts it into a shell's line. */
function checkHost(host: string): void {
  if (isIP(host) !== 0 || /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?$/.test(host)) return;
  throw new ClientFailure("failed", `${JSON.stringify(host)} is no host name and no IP address`);
}

/** What ssh refuses too: a shell's characters, or an option's beginning. */
function checkUser(user: string | undefined): void {
  if (user === undefined || !/['"`$;&<>|(){}\s\p{Cc}]|^-|^$|\\$/u.test(user)) return;
  throw new ClientFailure("failed", `${JSON.stringify(user)} is no user name`);
}

/** A mistake in the configuration is one for all hosts; it is told once, before any connection. */
function unreadable(host: string, stderr: string, cause: Error): DrydockError {
  const said =
    stderr
      .trim()
      .split("\n")[0]
      ?.replace(/\p{Cc}/gu, " ")
      .slice(0, 300) || cause.message;
  return new DrydockError("input", `read ssh's configuration for ${JSON.stringify(host)}: ${said}`, {
    hint: `Try: ssh -G -- ${host}`,
    cause,
  });
}

/** The lines of `ssh -G`: a keyword in lower case, a blank, and the value without quotes. */
function parse(output: string, asked: Asked, calling: CallingUser): SshConfig {
  const lines = output.split("\n").map((line): [string, string] => {
    const blank = line.indexOf(" ");
    return [line.slice(0, blank), line.slice(blank + 1)];
  });
  const values = (key: string) => lines.filter(([name]) => name === key).map(([, value]) => value);
  const value = (key: string) => values(key).at(0);
  const host = value("hostname") ?? asked.host;
  checkHost(host);
  const port = asked.port ?? Number(value("port") ?? 22);
  const user = asked.user ?? value("user") ?? calling.name;
  const alias = value("hostkeyalias");
  const expand = expander({ host, port, user, alias, name: asked.host, calling });
  const config: SshConfig = {
    ...{ host, port, user },
    keyFiles: values("identityfile").flatMap((text) => {
      const file = expand(text);
      return file === undefined ? [] : [{ file, byDefault: byDefault.test(text) }];
    }),
    identitiesOnly: value("identitiesonly") === "yes",
    agent: agentOf(value("identityagent"), expand),
    knownHostsFiles: files(value("userknownhostsfile"), expand),
    systemKnownHostsFiles: files(value("globalknownhostsfile"), expand),
    hashKnownHosts: value("hashknownhosts") === "yes",
    jumps: parseJumps(value("proxyjump")),
  };
  const command = value("proxycommand");
  if (command !== undefined && command !== "none") config.proxyCommand = command;
  if (alias !== undefined && alias !== "none") config.alias = alias;
  const family = value("addressfamily");
  if (family === "inet" || family === "inet6") config.family = family === "inet" ? 4 : 6;
  return config;
}

type Expand = (text: string) => string | undefined;

/** `~`, and the tokens of ssh_config(5) that name files; undefined for "none" or a token that is not known. */
function expander(about: {
  host: string;
  port: number;
  user: string;
  alias: string | undefined;
  name: string;
  calling: CallingUser;
}): Expand {
  const { host, port, user, alias, name, calling } = about;
  const tokens: Record<string, string> = {
    ...{ "%": "%", d: calling.home, h: host, n: name, p: String(port), r: user, u: calling.name },
    ...{ i: String(calling.uid), k: alias ?? name, l: hostname(), L: hostname().split(".")[0] ?? "" },
  };
  return (text) => {
    if (text === "none") return undefined;
    let unknown = false;
    const path = text.replace(/%(.)/g, (_, token: string) => {
      unknown ||= tokens[token] === undefined;
      return tokens[token] ?? "";
    });
    if (unknown) return undefined;
    const absolute = path.replace(/^~(?=\/)/, calling.home);
    return absolute.startsWith("/") ? absolute : undefined;
  };
}

/** `ssh -G` puts several files on one line without quotes; each begins with "/" or "~". */
function files(text: string | undefined, expand: Expand): string[] {
  return (text ?? "").split(/ (?=[/~])/).flatMap((file) => expand(file) ?? []);
}

/** IdentityAgent: "none", "SSH_AUTH_SOCK", a variable, or a path. */
function agentOf(text: string | undefined, expand: Expand): string | undefined {
  if (text === undefined || text === "SSH_AUTH_SOCK") return process.env.SSH_AUTH_SOCK;
  const variable = /^\$\{?(\w+)\}?$/.exec(text)?.[1];
  return variable === undefined ? expand(text) : process.env[variable];
}

/** `[user@]host[:port],…` or the same as ssh:// URIs. @throws ClientFailure */
export function parseJumps(text: string | undefined): Hop[] {
  if (text === undefined || text === "" || text === "none") return [];
  return text.split(",").map((part) => {
    const found = /^(?:ssh:\/\/)?(?:([^@\s]+)@)?(?:\[([^\]]+)\]|([^:@[\]/\s]+))(?::(\d{1,5}))?\/?$/.exec(
      part,
    );
    const host = found?.[2] ?? found?.[3];
    if (host === undefined) {
      throw new ClientFailure("failed", `its ProxyJump ${JSON.stringify(part)} is not read`);
    }
    const hop: Hop = { host };
    if (found?.[1] !== undefined) hop.user = found[1];
    if (found?.[4] !== undefined) hop.port = Number(found[4]);
    return hop;
  });
}
