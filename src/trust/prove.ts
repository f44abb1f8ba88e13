/**
 * The proof: a TLS handshake with the registry from where the client stands. The stream is opened by the
 * client's sshd, which resolves the name there; TLS is spoken on this side, so the client needs no tool, and
 * nothing that the client trusts or exempts (as Docker does with loopback) can make it pass.
 */
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import * as tls from "node:tls";
import { errorCode, errorText } from "../errors.ts";
import { hostPort } from "./address.ts";
import { type Client, ClientFailure } from "./client.ts";
import { type Connection, ForwardRefused } from "./connection.ts";

export interface Proof {
  proven: boolean;
  /** the name or address with which the handshake succeeded */
  provenAs?: string;
  /** why it is not proven, or what did not work before it was */
  reason?: string;
  hint?: string;
}

/** One try that ended without a handshake, and whether another address may do better. */
class NotReached extends ClientFailure {
  override name = "NotReached";
}

/** RFC 4254 section 5.1 */
const administrativelyProhibited = 1;

export interface ProofOptions {
  ca: string;
  /** names and IP addresses of the registry, at least one */
  addresses: readonly string[];
  port: number;
  timeoutMs: number;
}

/**
 * Tries the client's repo_host, or else all addresses in order until one can be reached; what answers there must
 * be the registry.
 * @returns not proven where the client's sshd forwards nothing
 * @throws ClientFailure "failed" if no target is reached, or a certificate is wrong
 */
export async function prove(connection: Connection, client: Client, options: ProofOptions): Promise<Proof> {
  const targets = client.repoHost === undefined ? options.addresses : [client.repoHost];
  const tries: NotReached[] = [];
  for (const target of targets) {
    try {
      const stream = await open(connection, client.name, target, options.port);
      await handshake(stream, target, options);
      const [first] = tries;
      if (first === undefined) return { proven: true, provenAs: target };
      const reason = `proven as ${JSON.stringify(target)} only: ${first.message}`;
      return {
        proven: true,
        provenAs: target,
        reason,
        ...(first.hint === undefined ? {} : { hint: first.hint }),
      };
    } catch (error) {
      if (error instanceof ForwardRefused) return notProven(error);
      if (!(error instanceof NotReached)) throw error;
      tries.push(error);
    }
  }
  const [first] = tries;
  throw new ClientFailure("failed", tries.map((failure) => failure.message).join("; "), first?.hint);
}

function notProven(error: ForwardRefused): Proof {
  return {
    proven: false,
    reason: `not proven: its sshd forwards no streams (${error.message})`,
    hint: "Allow it with AllowTcpForwarding local in its sshd_config, or pull an image there to see.",
  };
}

/** @throws ForwardRefused if its sshd forwards nothing, NotReached for all else */
async function open(connection: Connection, client: string, target: string, port: number): Promise<Duplex> {
  try {
    return await connection.forward(target, port);
  } catch (error) {
    if (!(error instanceof ForwardRefused) || error.reason === administrativelyProhibited) throw error;
    if (isIP(target) === 0 && !(await resolves(connection, target))) {
      throw new NotReached(
        "failed",
        `${client} does not resolve ${target}`,
        `Set repo_host to an address of the registry, or add ${target} to DNS or to /etc/hosts there.`,
      );
    }
    throw new NotReached(
      "failed",
      `${client} does not reach ${hostPort(target, port)}: ${error.message}`,
      "Look at routes and firewalls between that host and the registry.",
    );
  }
}

/** sshd tells only in words that a name is unknown. getent exits with 2 then; where it is missing, we can't say. */
async function resolves(connection: Connection, name: string): Promise<boolean> {
  const { code } = await connection.exec(`getent hosts '${name}' > /dev/null`);
  return code !== 2;
}

/** Closes the stream in any case. @throws ClientFailure, NotReached */
function handshake(stream: Duplex, target: string, options: ProofOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const where = hostPort(target, options.port);
  const socket = tls.connect({
    socket: stream,
    ca: options.ca,
    // RFC 6066 section 3: no IP addresses in SNI. The identity is checked against the target in either case.
    ...(isIP(target) === 0 ? { servername: target } : {}),
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(target, certificate),
  });
  const timer = setTimeout(
    () =>
      reject(new NotReached("failed", `no TLS handshake with ${where} within ${options.timeoutMs / 1000} s`)),
    options.timeoutMs,
  );
  stream.once("close", () =>
    reject(new NotReached("failed", `${where} closed the stream before TLS was up`)),
  );
  socket.once("secureConnect", () => resolve());
  socket.on("error", (error) => reject(tlsFailure(error, where)));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
    stream.destroy();
  });
}

/** Node names what OpenSSL's verification found (x509_verify_cert_error_string) in `code`. */
function tlsFailure(error: Error, where: string): ClientFailure {
  const code = errorCode(error) ?? "";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    const names = "cert" in error ? altNames(error.cert) : "";
    return new ClientFailure(
      "failed",
      `x509: the certificate at ${where} is for other names${names}`,
      "Use a name that it covers as repo_host, or make a certificate for this one too.",
    );
  }
  if (/^(?:UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|CERT_SIGNATURE|INVALID_CA)/.test(code)) {
    return new ClientFailure(
      "failed",
      `x509: the certificate at ${where} is not signed by this CA (${code})`,
      "Another server answers there, or the registry has a certificate of another CA.",
    );
  }
  if (code.startsWith("CERT_")) {
    const hint = "Look at the certificate's dates and at the clock of this host.";
    return new ClientFailure(
      "failed",
      `x509: the certificate at ${where}: ${errorText(error)} (${code})`,
      hint,
    );
  }
  return new ClientFailure(
    "failed",
    `TLS with ${where}: ${errorText(error)}`,
    "Is it the registry that answers there?",
  );
}

function altNames(certificate: unknown): string {
  const names =
    typeof certificate === "object" && certificate !== null && "subjectaltname" in certificate
      ? certificate.subjectaltname
      : undefined;
  return typeof names === "string" ? ` (${names.slice(0, 300)})` : "";
}
