/**
 * One SSH connection to a client: a checked host key, a key file or an agent, commands, and streams that are
 * forwarded from where the client stands. The agent itself is never forwarded.
 */
import { userInfo } from "node:os";
import type { Duplex } from "node:stream";
import type { ClientChannel, ClientErrorExtensions, ConnectConfig } from "ssh2";
import ssh2 from "ssh2";
import { errorCode, errorText } from "../errors.ts";
import { type Client, ClientFailure } from "./client.ts";
import { judgeHostKey } from "./host-key.ts";
import { readKeyFile } from "./key-file.ts";
import { type HostKey, hostKeyAlgorithms, type KnownHosts, lookup, remember } from "./known-hosts.ts";

export interface ConnectOptions {
  /** As read; accepted keys are added to it and to its file. */
  knownHosts: KnownHosts;
  acceptNewHostKeys: boolean;
  /** false: a new key that is accepted is written nowhere */
  rememberHostKeys?: boolean | undefined;
  /** for the connection with its login, and then for each command, in milliseconds */
  timeoutMs: number;
  /** the agent's socket; "" or left out: no agent */
  agent?: string | undefined;
}

export interface ExecResult {
  /** null if a signal ended it */
  code: number | null;
  signal: string | undefined;
  /** the first 64 KiB of each; the rest is read and dropped */
  stdout: string;
  stderr: string;
}

/** Why the client's sshd did not open a stream. */
export class ForwardRefused extends Error {
  override name = "ForwardRefused";
  /** RFC 4254 section 5.1: 1 is "administratively prohibited", 2 "connect failed" */
  readonly reason: number | undefined;

  constructor(message: string, reason: number | undefined) {
    super(message);
    this.reason = reason;
  }
}

export interface Connection {
  /** Runs a command with the user's login shell, and gives it `stdin`. @throws ClientFailure */
  exec(command: string, stdin?: string): Promise<ExecResult>;
  /** Opens a stream to host:port from the client; its names are resolved there. @throws ForwardRefused, ClientFailure */
  forward(host: string, port: number): Promise<Duplex>;
  close(): void;
}

const outputLimit = 64 * 1024;

/** @throws ClientFailure "unreachable", "refused" (host key, login) or "failed" */
export async function connect(client: Client, options: ConnectOptions): Promise<Connection> {
  const { knownHosts, timeoutMs } = options;
  const { port = 22, user = userInfo().username } = client;
  if (client.local === true || client.proxyCommand !== undefined || (client.jumps ?? []).length > 0) {
    throw new ClientFailure("failed", "only a direct SSH connection can be made: no jump, no command");
  }
  const login = await credentials(client, options.agent);
  const ssh = new ssh2.Client();
  let verdict: unknown;
  let remembered: Promise<void> = Promise.resolve();
  let accepted: HostKey | undefined;
  ssh.once("handshake", () => {
    // Only now has the host shown that the key is its own.
    if (accepted === undefined || options.rememberHostKeys === false) return;
    remembered = remember(knownHosts, client.host, port, accepted);
    remembered.catch(() => undefined); // awaited below, after the login
  });
  await ready(ssh, timeoutMs, () => verdict, {
    ...login,
    host: client.host,
    port,
    username: user,
    keepaliveInterval: 10_000,
    keepaliveCountMax: 3,
    algorithms: {
      serverHostKey: hostKeyAlgorithms(lookup(knownHosts, client.host, port).keys),
    },
    hostVerifier: (blob: Buffer): boolean => {
      try {
        accepted = judgeHostKey(client, blob, knownHosts, options.acceptNewHostKeys);
        return true;
      } catch (error) {
        verdict = error;
        return false;
      }
    },
  });
  try {
    await remembered;
  } catch (error) {
    ssh.destroy();
    throw new ClientFailure(
      "failed",
      `write its host key to ${JSON.stringify(knownHosts.file)}: ${errorText(error)}`,
    );
  }
  return connection(ssh, timeoutMs);
}

/** The key file if one is named, else the agent; the agent too for a key file that has a passphrase. */
async function credentials(client: Client, agent: string | undefined): Promise<ConnectConfig> {
  const viaAgent = agent === undefined || agent === "" ? undefined : { agent };
  if (client.keyFile === undefined) {
    if (viaAgent !== undefined) return viaAgent;
    throw new ClientFailure(
      "refused",
      "there is no key for it, and no agent is running",
      "Name a key with ansible_ssh_private_key_file, or start an agent: eval $(ssh-agent); ssh-add",
    );
  }
  const named = JSON.stringify(client.keyFile);
  const key = await readKeyFile(client.keyFile).catch((error: unknown) => {
    throw new ClientFailure("refused", `read key ${named}: ${errorText(error)}`);
  });
  if (key.state === "usable") return { privateKey: key.key };
  if (key.state === "encrypted" && viaAgent !== undefined) return viaAgent;
  throw new ClientFailure(
    "refused",
    key.state === "encrypted"
      ? `key ${named} has a passphrase, and no agent is running`
      : `${named} is not a private key`,
    key.state === "encrypted"
      ? `Give it to an agent: eval $(ssh-agent); ssh-add '${client.keyFile}'`
      : undefined,
  );
}

function ready(
  ssh: ssh2.Client,
  timeoutMs: number,
  verdict: () => unknown,
  config: ConnectConfig,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let agentTrouble = "";
    // Also against a host that sends a little now and then: ssh2's own timer ends with the login.
    const fail = (error: unknown) => {
      ssh.destroy();
      reject(error);
    };
    ssh.on("error", (error: Error & ClientErrorExtensions) => {
      // The agent's own trouble does not end the login; ssh2 goes on and says so once more.
      if (error.level === "agent") agentTrouble = error.message;
      else fail(verdict() ?? classify(error, timeoutMs, agentTrouble, config));
    });
    ssh.once("close", () => fail(verdict() ?? new ClientFailure("unreachable", "it closed the connection")));
    ssh.once("ready", resolve);
    ssh.connect({ ...config, readyTimeout: timeoutMs });
  });
}

/** ssh2 tells the stage in `level`, and sockets the reason in `code`. */
function classify(
  error: Error & ClientErrorExtensions,
  timeoutMs: number,
  agentTrouble: string,
  config: ConnectConfig,
): ClientFailure {
  const target = `${config.host}:${config.port}`;
  if (error.level === "client-timeout") {
    return new ClientFailure("unreachable", `no answer from ${target} within ${timeoutMs / 1000} s`);
  }
  if (error.level === "client-authentication") {
    const how = config.privateKey === undefined ? "the agent's keys" : "the key";
    const trouble = agentTrouble === "" ? "" : ` (agent: ${agentTrouble})`;
    return new ClientFailure(
      "refused",
      `login as ${JSON.stringify(config.username)} with ${how} was refused${trouble}`,
      "Put the public key into that user's authorized_keys there, or set ansible_user and the key.",
    );
  }
  const code = errorCode(error);
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    const text = `${JSON.stringify(config.host)} does not resolve here (${code})`;
    return new ClientFailure("unreachable", text, "Check the name, or give its address as ansible_host.");
  }
  // "protocol" is what ssh2 calls a peer that hangs up, or says something else than SSH.
  if (error.level === "client-socket" || error.level === "protocol" || code !== undefined) {
    // The system's text names the target a second time.
    const reason = error.message.replace(/^connect (E[A-Z]+) .*$/, "$1");
    const hint =
      code === "ECONNREFUSED" ? "Does sshd run there, and on that port (ansible_port)?" : undefined;
    return new ClientFailure("unreachable", `connect to ${target}: ${reason}`, hint);
  }
  return new ClientFailure("failed", `talk SSH to ${target}: ${error.message}`);
}

function connection(ssh: ssh2.Client, timeoutMs: number): Connection {
  return {
    exec: (command, stdin) => exec(ssh, timeoutMs, command, stdin),
    forward: (host, port) => forward(ssh, timeoutMs, host, port),
    close: () => {
      ssh.end();
    },
  };
}

/** Runs `work`; rejects if the connection closes, or the time ends with `late`, before it has settled. */
function whileOpen<T>(
  ssh: ssh2.Client,
  timeoutMs: number,
  late: () => Error,
  work: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const closed = () => reject(broken());
  const timer = setTimeout(() => reject(late()), timeoutMs);
  ssh.once("close", closed);
  try {
    work(resolve, reject);
  } catch {
    closed(); // ssh2 throws when it is closed already
  }
  return promise.finally(() => {
    clearTimeout(timer);
    ssh.off("close", closed);
  });
}

function broken(): ClientFailure {
  return new ClientFailure("failed", "the connection broke");
}

function exec(ssh: ssh2.Client, timeoutMs: number, command: string, stdin = ""): Promise<ExecResult> {
  const late = () => {
    ssh.destroy(); // nothing goes on behind our back
    return new ClientFailure("failed", `a command there did not end within ${timeoutMs / 1000} s`);
  };
  return whileOpen(ssh, timeoutMs, late, (resolve, reject) => {
    ssh.exec(command, (error: Error | undefined, channel: ClientChannel) => {
      if (error !== undefined) {
        reject(new ClientFailure("failed", `run a command there: ${error.message}`));
        return;
      }
      const stdout = collect(channel);
      const stderr = collect(channel.stderr);
      let ended: { code: number | null; signal: string | undefined } | undefined;
      channel.on("exit", (code: number | null, signal?: string) => {
        ended = { code, signal };
      });
      channel.on("error", () => undefined); // `close` follows
      channel.on("close", () => {
        if (ended === undefined) reject(broken());
        else resolve({ ...ended, stdout: stdout(), stderr: stderr() });
      });
      channel.end(stdin);
    });
  });
}

function forward(ssh: ssh2.Client, timeoutMs: number, host: string, port: number): Promise<Duplex> {
  let waiting = true;
  const late = () => new ForwardRefused(`no answer within ${timeoutMs / 1000} s`, undefined);
  return whileOpen<Duplex>(ssh, timeoutMs, late, (resolve, reject) => {
    ssh.forwardOut("127.0.0.1", 0, host, port, (error, stream) => {
      if (error !== undefined) {
        reject(new ForwardRefused(error.message, "reason" in error ? Number(error.reason) : undefined));
      } else if (waiting) {
        stream.on("error", () => undefined); // whoever reads it sees `close`
        resolve(stream);
      } else {
        stream.destroy();
      }
    });
  }).finally(() => {
    waiting = false;
  });
}

/** Keeps the beginning of a stream, and reads on so that it can end. */
function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let room = outputLimit;
  stream.on("data", (chunk: Buffer) => {
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}
