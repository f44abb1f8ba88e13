/**
 * What there is to log in with at each host, found before the first connection. Each key is read once, each
 * passphrase and password asked for once, and kept in this process's memory alone.
 */
import ssh2, { type OpenSSHAgent, type ParsedKey } from "ssh2";
import { DrydockError, errorText } from "../errors.ts";
import { shellWord } from "../shell-words.ts";
import type { CallingUser } from "./calling-user.ts";
import { ClientFailure } from "./client.ts";
import { type KeyFile, readKeyFile } from "./key-file.ts";
import { AgentOffer, type Credentials, type Offer } from "./login.ts";
import type { Target } from "./target.ts";

/** Asks for a secret; the answer is shown nowhere. */
export type Ask = (question: string) => Promise<string>;

type Locked = Extract<KeyFile, { state: "encrypted" }>;

interface Agent {
  agent: OpenSSHAgent;
  keys: ParsedKey[];
  trouble?: string;
}

export class CredentialStore {
  readonly #ask: Ask | undefined;
  readonly #user: CallingUser;
  readonly #files = new Map<string, Promise<KeyFile | Error>>();
  readonly #unlocked = new Map<string, Promise<ParsedKey>>();
  readonly #agents = new Map<string, Promise<Agent>>();
  /** by user name */
  readonly passwords = new Map<string, string>();

  constructor(user: CallingUser, ask: Ask | undefined) {
    this.#user = user;
    this.#ask = ask;
  }

  /**
   * @param agent the agent's socket in place of the configuration's; "" for none
   * @throws ClientFailure "refused" if there is nothing to log in with, DrydockError if a passphrase is wrong
   */
  async of(target: Target, agent = target.agent): Promise<Credentials> {
    const running = agent === undefined || agent === "" ? undefined : await this.#agent(agent);
    const password = this.passwords.get(target.user);
    const wanted = target.keyFiles.filter((key) => !key.byDefault);
    const trouble: string[] = [];
    const named: Offer[] = [];
    for (const { file } of wanted) named.push(...(await this.#named(file, running, trouble)));
    const others = target.identitiesOnly ? [] : (running?.keys ?? []).filter((key) => !contains(named, key));
    const byDefault = await this.#byDefault(
      target,
      named.length + others.length > 0 || password !== undefined,
    );
    if (named.length + others.length + byDefault.length === 0 && password === undefined)
      throw this.#nothing(wanted[0]?.file, running, trouble);
    const credentials: Credentials = { named, byDefault };
    if (running !== undefined && others.length > 0) credentials.agent = new AgentOffer(running.agent, others);
    if (password !== undefined) credentials.password = password;
    if (running?.trouble !== undefined) trouble.push(`agent: ${running.trouble}`);
    if (trouble.length > 0) credentials.trouble = trouble.join("; ");
    return credentials;
  }

  /** A key that the agent holds is left to it, so that nobody is asked for its passphrase. */
  async #named(file: string, running: Agent | undefined, trouble: string[]): Promise<Offer[]> {
    const key = await this.#file(file);
    if (key instanceof Error) trouble.push(`read key ${JSON.stringify(file)}: ${errorText(key)}`);
    else if (key.state === "no key") trouble.push(`${JSON.stringify(file)} is not a private key`);
    else if (key.state === "usable") return [key.key];
    else {
      const { publicKey } = key;
      const held = publicKey && running?.keys.find((one) => one.getPublicSSH().equals(publicKey));
      if (running !== undefined && held !== undefined) return [new AgentOffer(running.agent, [held])];
      if (this.#ask !== undefined) return [await this.#unlock(file, key)];
      trouble.push(`key ${JSON.stringify(file)} has a passphrase`);
    }
    return [];
  }

  /** Those that are usable as they are; where nothing else is left, the first one with a passphrase. */
  async #byDefault(target: Target, enough: boolean): Promise<ParsedKey[]> {
    const keys: ParsedKey[] = [];
    const locked: { file: string; key: Locked }[] = [];
    for (const { file, byDefault } of target.keyFiles) {
      const key = byDefault ? await this.#file(file) : undefined;
      if (key === undefined || key instanceof Error) continue;
      if (key.state === "usable") keys.push(key.key);
      else if (key.state === "encrypted") locked.push({ file, key });
    }
    const [first] = locked;
    if (enough || keys.length > 0 || first === undefined || this.#ask === undefined) return keys;
    return [await this.#unlock(first.file, first.key)];
  }

  #file(file: string): Promise<KeyFile | Error> {
    return once(this.#files, file, () =>
      readKeyFile(file).catch((error: unknown) =>
        error instanceof Error ? error : new Error(String(error)),
      ),
    );
  }

  #unlock(file: string, key: Locked): Promise<ParsedKey> {
    return once(this.#unlocked, file, async () => {
      for (let tries = 1; tries <= 3; tries += 1) {
        const again = tries === 1 ? "" : "Not right. ";
        const passphrase = await this.#ask?.(`${again}Passphrase of the key ${file}: `);
        const unlocked = passphrase === undefined ? undefined : key.unlock(passphrase);
        if (unlocked !== undefined) return unlocked;
      }
      throw new DrydockError("input", `unlock key ${JSON.stringify(file)}: three passphrases were not right`);
    });
  }

  #agent(socket: string): Promise<Agent> {
    return once(this.#agents, socket, async () => {
      const agent = new ssh2.OpenSSHAgent(socket);
      const { promise, resolve } = Promise.withResolvers<Agent>();
      agent.getIdentities((error, keys) => {
        if (error) resolve({ agent, keys: [], trouble: error.message });
        else resolve({ agent, keys: (keys ?? []).filter(isParsed) });
      });
      return await promise;
    });
  }

  #nothing(keyFile: string | undefined, running: Agent | undefined, trouble: string[]): ClientFailure {
    const lost = this.#user.viaSudo && running === undefined && process.env.SSH_AUTH_SOCK === undefined;
    const hint = lost
      ? "sudo has taken the agent away: run it as `sudo --preserve-env=SSH_AUTH_SOCK drydock …`."
      : keyFile === undefined
        ? "Name a key with ansible_ssh_private_key_file or in ~/.ssh/config, start an agent " +
          "(`eval $(ssh-agent); ssh-add`), or log in with a password: --ask-password."
        : "Run it at a terminal, which asks for a passphrase, or give the key to an agent: " +
          `\`eval $(ssh-agent); ssh-add ${shellWord(keyFile)}\`.`;
    const what = trouble.length === 0 ? "there is no key for it" : trouble.join("; ");
    const silent = running?.trouble === undefined ? "has no key" : `does not answer (${running.trouble})`;
    const agent = running === undefined ? "no agent is running" : `the agent ${silent}`;
    return new ClientFailure("refused", `${what}, and ${agent}`, hint);
  }
}

/** ssh2's own agent gives nothing else. */
function isParsed(key: unknown): key is ParsedKey {
  return typeof key === "object" && key !== null && "getPublicSSH" in key;
}

function contains(offers: readonly Offer[], key: ParsedKey): boolean {
  const blob = key.getPublicSSH();
  return offers.some((offer) =>
    (offer instanceof AgentOffer ? offer.keys : [offer]).some((one) => one.getPublicSSH().equals(blob)),
  );
}

/** The value of a key, made once, also while it is being made. */
function once<T>(map: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
