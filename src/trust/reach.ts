/**
 * Reaching clients: all that is needed for it is found and asked for before the first connection, for all of
 * them; then each can be connected to.
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError } from "../errors.ts";
import { type Reporter, silentReporter } from "../reporter.ts";
import { hostPort } from "./address.ts";
import { type CallingUser, callingUser } from "./calling-user.ts";
import { type Client, ClientFailure } from "./client.ts";
import type { Connection } from "./connection.ts";
import { type Ask, CredentialStore } from "./credentials.ts";
import { type KnownHosts, readKnownHosts } from "./known-hosts.ts";
import { localConnection } from "./local.ts";
import type { Credentials } from "./login.ts";
import { Passages } from "./passage.ts";
import { connect } from "./ssh.ts";
import { SshConfigs } from "./ssh-config.ts";
import { type Route, routeTo, type Target } from "./target.ts";

export interface ReachOptions {
  /** in place of the user's known_hosts; the system's is read in any case */
  knownHostsFile?: string | undefined;
  acceptNewHostKeys: boolean;
  /** false, as in a dry run: a new key that is accepted is written nowhere */
  rememberHostKeys?: boolean | undefined;
  /** for the login, and then for each step with one client, in milliseconds; default 20 s */
  timeoutMs?: number | undefined;
  /** the agent's socket, "" for none; default: what SSH's configuration says, else SSH_AUTH_SOCK */
  agent?: string | undefined;
  /** in place of ~/.ssh/config and /etc/ssh/ssh_config; "none" for neither */
  sshConfigFile?: string | undefined;
  /** run the ProxyCommands of SSH's configuration */
  allowProxyCommand?: boolean | undefined;
  /** how to ask for a passphrase or a password; left out: nobody is there to answer */
  ask?: Ask | undefined;
  /** ask for each user's password for the login */
  askPassword?: boolean | undefined;
  /** ask for each user's password for sudo */
  askSudoPassword?: boolean | undefined;
}

export const defaultTimeout = 20_000;

/** A client that can be connected to, or why it can't. */
type Prepared = { route: Route } | { failure: ClientFailure } | "local";

export class Reach {
  readonly #options: ReachOptions;
  readonly #user: CallingUser;
  readonly #prepared = new Map<Client, Prepared>();
  readonly #sudoPasswords = new Map<string, string>();
  readonly #knownHosts = new Map<string, Promise<KnownHosts>>();
  readonly #credentials = new Map<Target, Credentials>();
  readonly #store: CredentialStore;
  readonly #passages: Passages;

  private constructor(user: CallingUser, options: ReachOptions) {
    this.#user = user;
    this.#options = options;
    this.#store = new CredentialStore(user, options.ask);
    const { timeoutMs = defaultTimeout, acceptNewHostKeys, rememberHostKeys = true } = options;
    this.#passages = new Passages(user, timeoutMs, async (target, dial) => {
      const knownHosts = await this.#knownHostsOf(target);
      const credentials = this.#credentials.get(target);
      if (credentials === undefined) throw new Error("a target that was not prepared");
      return await connect(target, {
        ...{ knownHosts, acceptNewHostKeys, rememberHostKeys, user, credentials, timeoutMs, dial },
      });
    });
  }

  /**
   * Reads SSH's configuration and the keys, and asks for what is to be asked, each thing once.
   * @throws DrydockError "input" if the configuration or known_hosts can't be read or a passphrase stays wrong,
   *   "usage" if something is to be asked for and nobody can be
   */
  static async prepare(
    clients: readonly Client[],
    options: ReachOptions,
    reporter: Reporter = silentReporter,
  ): Promise<Reach> {
    const user = await callingUser();
    const reach = new Reach(user, options);
    const configs = new SshConfigs(user, options.sshConfigFile);
    await Promise.all(clients.map((client) => reach.#findRoute(client, configs)));
    if (configs.present === false && options.sshConfigFile === undefined) await noteUnread(user, reporter);
    await reach.#askPasswords(clients);
    // One after the other, since some may ask.
    for (const client of clients) await reach.#findCredentials(client);
    return reach;
  }

  /** @throws ClientFailure */
  async connect(client: Client): Promise<Connection> {
    const prepared = this.#prepared.get(client);
    if (prepared === undefined) throw new Error(`client ${client.name} was not prepared`);
    if (prepared !== "local" && "failure" in prepared) throw prepared.failure;
    const { timeoutMs = defaultTimeout } = this.#options;
    const connection =
      prepared === "local" ? localConnection(timeoutMs) : await this.#passages.open(prepared.route);
    connection.sudoPassword = () => this.#sudoPasswords.get(connection.user);
    return connection;
  }

  /** What is the same for clients that are one host, by whatever names and for whatever users. */
  placeOf(client: Client): unknown {
    const prepared = this.#prepared.get(client);
    if (prepared === undefined || prepared === "local") return prepared;
    if ("failure" in prepared) return client;
    const { targets, proxyCommand } = prepared.route;
    return JSON.stringify([proxyCommand, ...targets.map(({ host, port }) => [host.toLowerCase(), port])]);
  }

  /** Ends the connections to jump hosts; where they are needed again, they are made anew. */
  close(): void {
    this.#passages.close();
  }

  async #findRoute(client: Client, configs: SshConfigs): Promise<void> {
    if (client.local === true) this.#prepared.set(client, "local");
    else {
      const { allowProxyCommand = false } = this.#options;
      await this.#failing(client, async () => {
        const route = await routeTo(client, configs, allowProxyCommand);
        this.#prepared.set(client, { route });
      });
    }
  }

  async #findCredentials(client: Client): Promise<void> {
    const prepared = this.#prepared.get(client);
    if (prepared === undefined || prepared === "local" || "failure" in prepared) return;
    await this.#failing(client, async () => {
      const { targets } = prepared.route;
      for (const target of targets) {
        const found = this.#store.of(target, this.#options.agent);
        this.#credentials.set(target, await (target === targets.at(-1) ? found : ofJumpHost(target, found)));
        await this.#knownHostsOf(target);
      }
    });
  }

  /** What stands in the way of one client is told with that client. */
  async #failing(client: Client, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (failure) {
      if (!(failure instanceof ClientFailure)) throw failure;
      this.#prepared.set(client, { failure });
    }
  }

  #knownHostsOf(target: Target): Promise<KnownHosts> {
    const { knownHostsFile } = this.#options;
    const own = knownHostsFile === undefined ? target.knownHostsFiles : [knownHostsFile];
    const [first = `${this.#user.home}/.ssh/known_hosts`, ...others] = own;
    const files = [first, ...others, ...target.systemKnownHostsFiles];
    const key = files.join("\0");
    let known = this.#knownHosts.get(key);
    if (known === undefined) {
      known = readKnownHosts(first, ...files.slice(1));
      this.#knownHosts.set(key, known);
    }
    return known;
  }

  async #askPasswords(clients: readonly Client[]): Promise<void> {
    const { askPassword = false, askSudoPassword = false } = this.#options;
    const logins = new Counts();
    const sudos = new Counts();
    for (const client of clients) {
      const prepared = this.#prepared.get(client);
      const targets =
        prepared === undefined || prepared === "local" || "failure" in prepared ? [] : prepared.route.targets;
      for (const { user } of targets) logins.add(user);
      const user = prepared === "local" ? localConnection(0).user : targets.at(-1)?.user;
      if (user !== undefined && user !== "root" && client.become !== false) sudos.add(user);
    }
    if (askPassword) {
      for (const [user, count] of logins.all)
        this.#store.passwords.set(user, await this.#askFor(`Password of ${user} on ${hosts(count)}: `));
    }
    if (!askSudoPassword) return;
    for (const [user, count] of sudos.all) {
      const login = this.#store.passwords.get(user);
      const same = login === undefined ? "" : " (empty: the same)";
      const answer = await this.#askFor(`sudo password of ${user} on ${hosts(count)}${same}: `);
      this.#sudoPasswords.set(user, answer === "" && login !== undefined ? login : answer);
    }
  }

  async #askFor(question: string): Promise<string> {
    const { ask } = this.#options;
    if (ask === undefined) {
      throw new DrydockError(
        "usage",
        `ask ${JSON.stringify(question.trim())}: there is no terminal to ask at`,
      );
    }
    return await ask(question);
  }
}

/** Whoever has a configuration means it. */
async function noteUnread(user: CallingUser, reporter: Reporter): Promise<void> {
  const file = join(user.home, ".ssh/config");
  const there = await access(file).then(
    () => true,
    () => false,
  );
  if (there)
    reporter.warn(`${file} is not read, since there is no ssh (OpenSSH) on this host to ask about it.`);
}

/** Names the jump host that a failure is about. */
async function ofJumpHost<T>({ host, port }: Target, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ClientFailure)) throw error;
    throw new ClientFailure(error.status, `jump host ${hostPort(host, port)}: ${error.message}`, error.hint);
  }
}

class Counts {
  readonly all = new Map<string, number>();
  add(user: string): void {
    this.all.set(user, (this.all.get(user) ?? 0) + 1);
  }
}

function hosts(count: number): string {
  return count === 1 ? "1 host" : `${count} hosts`;
}
