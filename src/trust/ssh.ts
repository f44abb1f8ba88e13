/**
 * One SSH connection to one host: a checked host key, then a login. The agent itself is never forwarded.
 */
import type { Duplex } from "node:stream";
import ssh2, { type ClientErrorExtensions, type ConnectConfig } from "ssh2";
import { errorCode, errorText } from "../errors.ts";
import { hostPort } from "./address.ts";
import type { CallingUser } from "./calling-user.ts";
import { ClientFailure } from "./client.ts";
import { type Connection, connectionOver } from "./connection.ts";
import { judgeCertificate, parseHostCertificate } from "./host-certificate.ts";
import { type Judgement, judgeHostKey, knownAs } from "./host-key.ts";
import { type HostKey, hostKeyAlgorithms, type KnownHosts, lookup, remember } from "./known-hosts.ts";
import { type Credentials, type Login, passwordWords, startLogin } from "./login.ts";
import { shownCertificate } from "./shown-certificate.ts";
import type { Target } from "./target.ts";

export interface ConnectOptions {
  /** As read; accepted keys are added to it and to its file. */
  knownHosts: KnownHosts;
  acceptNewHostKeys: boolean;
  /** false: a new key that is accepted is written nowhere */
  rememberHostKeys: boolean;
  /** whose file known hosts is */
  user: CallingUser;
  credentials: Credentials;
  /** for the connection with its login, and then for each command, in milliseconds */
  timeoutMs: number;
  /** makes a stream to the host's sshd */
  dial: () => Promise<Duplex>;
}

/** @throws ClientFailure "unreachable", "refused" (host key, login) or "failed" */
export async function connect(target: Target, options: ConnectOptions): Promise<Connection> {
  const { knownHosts, timeoutMs } = options;
  const judgement = await prepareJudgement(target, options);
  const stream = await options.dial();
  // A stream through a jump host, or of a command, may stay half open for ever, and nobody would be told: ssh2 stops
  // its timers at the end of what comes, and those who wait wait for `close`.
  stream.once("end", () => stream.destroy());
  const ssh = new ssh2.Client();
  const login = startLogin(target.user, options.credentials);
  let verdict: unknown;
  let remembered: Promise<void> = Promise.resolve();
  let accepted: HostKey | undefined;
  ssh.once("handshake", () => {
    // Only now has the host shown that the key is its own.
    if (accepted === undefined || !options.rememberHostKeys) return;
    const entry = { ...knownAs(target), key: accepted, hashed: target.hashKnownHosts };
    remembered = remember(knownHosts, options.user, entry);
    remembered.catch(() => undefined); // awaited below, after the login
  });
  const { host, port } = knownAs(target);
  const { keys, withoutPort } = lookup(knownHosts, host, port);
  const wanted = [
    ...keys,
    ...withoutPort,
    ...(judgement.vouchedFor === undefined ? [] : [judgement.vouchedFor]),
  ];
  const explain = (error: Error & ClientErrorExtensions) =>
    verdict ?? classify(error, { target, login, timeoutMs, credentials: options.credentials });
  await ready(ssh, explain, {
    sock: stream,
    username: target.user,
    authHandler: login.handler,
    readyTimeout: timeoutMs,
    keepaliveInterval: 10_000,
    keepaliveCountMax: 3,
    algorithms: { serverHostKey: hostKeyAlgorithms(wanted) },
    hostVerifier: (blob: Buffer): boolean => {
      try {
        accepted = judgeHostKey(target, blob, judgement);
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
    const file = JSON.stringify(knownHosts.file);
    throw new ClientFailure("failed", `write its host key to ${file}: ${errorText(error)}`);
  }
  return connectionOver(ssh, target.user, timeoutMs);
}

/** Asks the host for a certificate where only an authority is known that may vouch for its key. */
async function prepareJudgement(target: Target, options: ConnectOptions): Promise<Judgement> {
  const { knownHosts: known, acceptNewHostKeys: acceptNew, timeoutMs } = options;
  const { host, port } = knownAs(target);
  const { keys, withoutPort, authorities, revoked } = lookup(known, host, port);
  if (authorities.length === 0 || keys.length > 0 || withoutPort.length > 0) return { known, acceptNew };
  const blob = await shownCertificate(await options.dial(), timeoutMs);
  if (blob === undefined)
    return { known, acceptNew, notVouched: "it shows no certificate of a known authority" };
  const certificate = parseHostCertificate(blob);
  const judged =
    certificate === undefined
      ? "its certificate can't be read"
      : judgeCertificate(certificate, host, { authorities, revoked });
  if (typeof judged === "string") return { known, acceptNew, notVouched: judged };
  return { known, acceptNew, vouchedFor: judged };
}

function ready(
  ssh: ssh2.Client,
  explain: (error: Error & ClientErrorExtensions) => unknown,
  config: ConnectConfig,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // Also against a host that sends a little now and then: ssh2's own timer ends with the login.
    const fail = (error: Error & ClientErrorExtensions) => {
      ssh.destroy();
      reject(explain(error));
    };
    ssh.on("error", (error: Error & ClientErrorExtensions) => {
      // The agent's own trouble does not end the login; ssh2 goes on with what else there is.
      if (error.level !== "agent") fail(error);
    });
    ssh.once("close", () => fail(new Error("it closed the connection")));
    ssh.once("ready", resolve);
    ssh.connect(config);
  });
}

interface Attempt {
  target: Target;
  login: Login;
  timeoutMs: number;
  credentials: Credentials;
}

/** ssh2 tells the stage in `level`, and sockets the reason in `code`. */
function classify(error: Error & ClientErrorExtensions, attempt: Attempt): ClientFailure {
  const { target, login, timeoutMs } = attempt;
  const where = hostPort(target.host, target.port);
  // Before a login alone: a password is not sent again.
  const early = { mayPass: login.tried() === "" };
  if (error.level === "client-timeout") {
    const text = `no answer from ${where} within ${timeoutMs / 1000} s`;
    return new ClientFailure("unreachable", text, "Is it up, and not behind a firewall?", early);
  }
  if (error.level === "client-authentication" || /too many authentication failures/i.test(error.message))
    return loginRefused(error, attempt);
  const code = errorCode(error);
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    const text = `${JSON.stringify(target.host)} does not resolve here (${code})`;
    const hint = "Check the name, or give its address as ansible_host.";
    return new ClientFailure("unreachable", text, hint, { mayPass: code === "EAI_AGAIN" });
  }
  // "protocol" is what ssh2 calls a peer that hangs up, or says something else than SSH.
  if (error.level !== undefined || code !== undefined || error.message === "it closed the connection") {
    // The system's text names the target a second time, or is empty where several addresses failed.
    const reason = error.message.replace(/^connect (E[A-Z]+) .*$/, "$1") || code;
    const status = error.level === "handshake" ? "failed" : "unreachable";
    const wasLost = isLoss(code) || /^Connection lost|^it closed the connection$/.test(error.message);
    const hint = connectHints[code ?? ""] ?? (wasLost ? lostHint : undefined);
    return new ClientFailure(status, `connect to ${where}: ${reason}`, hint, wasLost ? early : {});
  }
  return new ClientFailure("failed", `talk SSH to ${where}: ${error.message}`);
}

const noRoute =
  "There is no way to it from here: look at routes and firewalls, or name a jump host (ProxyJump).";
const connectHints: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Does sshd run there, and on that port (ansible_port)?",
  ENETUNREACH: noRoute,
  EHOSTUNREACH: noRoute,
};
const lostHint =
  "Is it sshd that answers there? Its log says whether it turned us away (MaxStartups, DenyUsers).";

/** What a busy sshd (MaxStartups) or a network that breaks for a moment ends with. */
function isLoss(code: string | undefined): boolean {
  return code === "ECONNRESET" || code === "EPIPE" || code === "ETIMEDOUT";
}

function loginRefused(error: Error, { target, login, credentials }: Attempt): ClientFailure {
  const user = JSON.stringify(target.user);
  const question = login.question();
  if (question !== undefined) {
    const asked = question
      .replace(/\p{Cc}/gu, " ")
      .trim()
      .slice(0, 200);
    const text = `login as ${user}: it asks for more than a password (${JSON.stringify(asked)})`;
    return new ClientFailure("refused", text, "Log in with a key, which needs no such answer.");
  }
  const tried = login.tried() || "no key";
  const why = /too many/i.test(error.message) ? ["it ended the login after too many keys"] : [];
  const trouble = [...(credentials.trouble === undefined ? [] : [credentials.trouble]), ...why];
  const details = trouble.length === 0 ? "" : ` (${trouble.join("; ")})`;
  const passwords = login.left().some((method) => method === "password" || method === "keyboard-interactive");
  const withKey =
    "Put the public key into that user's authorized_keys there, or set ansible_user and the key.";
  const hint =
    passwords && credentials.password === undefined
      ? "It takes passwords: --ask-password asks for one. Or put the public key into that user's authorized_keys there."
      : tried.includes(passwordWords)
        ? "Is it that user's password there? It was sent once."
        : `${credentials.password === undefined ? "" : "It takes no password. "}${withKey}`;
  return new ClientFailure("refused", `login as ${user} with ${tried} was refused${details}`, hint);
}
