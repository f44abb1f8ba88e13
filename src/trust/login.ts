/**
 * Logging in: keys of files and of the agent, then a password, in the order in which ssh would offer them. The
 * agent is asked to sign and is never forwarded; a password is sent once, since a host may count mistakes.
 */
import ssh2, {
  type AnyAuthMethod,
  type AuthenticationType,
  type AuthHandlerMiddleware,
  type IdentityCallback,
  type OpenSSHAgent,
  type ParsedKey,
  type SignCallback,
  type SigningRequestOptions,
} from "ssh2";

/** What there is to log in with. */
export interface Credentials {
  /** keys that are tried before the agent's other ones */
  named: Offer[];
  /** the agent's, without the named ones */
  agent?: AgentOffer;
  /** keys that ssh would try by itself */
  byDefault: Offer[];
  /** undefined: none was asked for */
  password?: string;
  /** why a key or an agent that is there was of no use */
  trouble?: string;
}

export type Offer = ParsedKey | AgentOffer;

type PublicKey = ParsedKey | Buffer | string;

/** Some of an agent's keys. */
export class AgentOffer extends ssh2.BaseAgent {
  readonly #agent: OpenSSHAgent;
  readonly keys: readonly ParsedKey[];

  constructor(agent: OpenSSHAgent, keys: readonly ParsedKey[]) {
    super();
    this.#agent = agent;
    this.keys = keys;
  }

  override getIdentities(callback: IdentityCallback): void {
    callback(undefined, [...this.keys]);
  }

  override sign(
    key: PublicKey,
    data: Buffer,
    options: SigningRequestOptions | SignCallback,
    callback?: SignCallback,
  ): void {
    if (typeof options === "function") this.#agent.sign(key, data, options);
    else this.#agent.sign(key, data, options, callback);
  }
}

/** One login, as it goes. */
export interface Login {
  handler: AuthHandlerMiddleware;
  /** what has been tried, in words: "the key, the agent's keys" */
  tried(): string;
  /** the methods that the host still takes */
  left(): readonly string[];
  /** a question of the host that is no plain one for the password */
  question(): string | undefined;
}

interface Try {
  method: "publickey" | "password" | "keyboard-interactive";
  words: string;
  make: () => AnyAuthMethod;
}

const agentWords = "the agent's keys";
export const passwordWords = "the password";

export function startLogin(username: string, credentials: Credentials): Login {
  let pending = tries(username, credentials, (text) => {
    question ??= text;
  });
  let question: string | undefined;
  let left: readonly AuthenticationType[] = [];
  let started = false;
  const tried = new Set<string>();
  return {
    tried: () => [...tried].join(", "),
    left: () => left,
    question: () => question,
    handler: (methods: AuthenticationType[] | null, _partial, next) => {
      left = methods ?? [];
      // Asking with "none" tells what the host takes (RFC 4252 section 5.2), which spares it a password in vain.
      const one = methods === null ? pending[0] : pending.find(({ method }) => methods.includes(method));
      if (!started && one?.method !== "publickey") {
        started = true;
        next({ type: "none", username });
        return;
      }
      started = true;
      if (one === undefined) {
        giveUp(next);
        return;
      }
      pending = pending.filter((other) => other !== one && !(isPassword(one) && isPassword(other)));
      tried.add(one.words);
      next(one.make());
    },
  };
}

/** ssh2 takes `false` as the end, which its types don't say. */
function giveUp(next: (method: never) => void): void {
  next(false as never);
}

function isPassword({ method }: Try): boolean {
  return method !== "publickey";
}

function tries(username: string, credentials: Credentials, unknown: (question: string) => void): Try[] {
  const offer = (one: Offer, words: string): Try => ({
    method: "publickey",
    words,
    make: () =>
      one instanceof AgentOffer
        ? { type: "agent", username, agent: one }
        : { type: "publickey", username, key: one },
  });
  const words = (one: Offer) => (one instanceof AgentOffer ? agentWords : "the key");
  const { named, agent, byDefault, password } = credentials;
  const list = [
    ...named.map((one) => offer(one, words(one))),
    ...(agent === undefined ? [] : [offer(agent, agentWords)]),
    ...byDefault.map((one) => offer(one, words(one))),
  ];
  if (password === undefined) return list;
  list.push({
    method: "password",
    words: passwordWords,
    make: () => ({ type: "password", username, password }),
  });
  list.push({
    method: "keyboard-interactive",
    words: passwordWords,
    make: () => ({ type: "keyboard-interactive", username, prompt: answerOnce(password, unknown) }),
  });
  return list;
}

/** Answers the first question that hides what is typed; a second one, a code say, is not for a password. */
function answerOnce(password: string, unknown: (question: string) => void) {
  let answered = false;
  return (
    _name: string,
    _instructions: string,
    _language: string,
    prompts: readonly { prompt: string; echo?: boolean }[],
    finish: (answers: string[]) => void,
  ) => {
    const [first] = prompts;
    if (answered || prompts.length !== 1 || first === undefined || first.echo === true) {
      unknown(prompts.map(({ prompt }) => prompt).join(" "));
      finish(prompts.map(() => ""));
      return;
    }
    answered = true;
    finish([password]);
  };
}
