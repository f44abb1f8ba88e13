/**
 * A TLS handshake with the registry from where the client stands. The stream is opened by the client's sshd, which
 * resolves the name there; TLS is spoken on this side, so the client needs no tool, and nothing that the client
 * trusts or exempts (as Docker does with loopback) can make it pass.
 */
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import * as tls from "node:tls";
import { errorCode, errorText } from "../../errors.ts";
import { hostPort } from "../address.ts";
import { ClientFailure } from "../client.ts";
import { ForwardRefused } from "../connection.ts";
import {
  doesNotReach,
  doesNotResolve,
  firstReached,
  NotReached,
  type Place,
  type ProofOptions,
  type Reached,
} from "./proof.ts";
import type { Surroundings } from "./surroundings.ts";

/** When the registry's certificate, and that of its CA, are both valid; milliseconds since 1970. */
interface Validity {
  from: number;
  to: number;
}

/**
 * @param looking is waited for only where nothing is reached, and in the end for the client's clock: what checks
 *   certificates there goes by that
 * @throws ForwardRefused where the client's sshd forwards nothing; ClientFailure "failed" if no target is reached, a
 *   certificate is wrong, or it is not valid by the client's clock
 */
export async function proveByHandshake(
  place: Place,
  targets: readonly string[],
  looking: Promise<Surroundings>,
): Promise<Reached> {
  const { target, result, notes } = await firstReached(targets, async (target) => {
    const stream = await open(place, target, looking);
    return await handshake(stream, target, place.options);
  });
  checkClock((await looking).clock, result);
  return { target, notes };
}

/** @throws ForwardRefused if its sshd forwards nothing, NotReached for all else */
async function open(
  { connection, client, options }: Place,
  target: string,
  looking: Promise<Surroundings>,
): Promise<Duplex> {
  try {
    return await connection.forward(target, options.port);
  } catch (error) {
    if (!(error instanceof ForwardRefused) || error.prohibited) throw error;
    // sshd tells only in words that a name is unknown.
    const addresses = isIP(target) === 0 ? (await looking).addressesOf(target) : undefined;
    if (addresses?.length === 0) throw doesNotResolve(client.name, target);
    throw doesNotReach(client.name, hostPort(target, options.port), error.message);
  }
}

function checkClock(clock: number | undefined, { from, to }: Validity): void {
  if (clock === undefined || (clock >= from && clock <= to)) return;
  const day = (time: number) => new Date(time).toISOString().slice(0, 16).replace("T", " ");
  const when = clock < from ? `begins on ${day(from)}` : `ended on ${day(to)}`;
  throw new ClientFailure(
    "failed",
    `its clock says ${day(clock)} UTC, and the registry's certificate ${when}`,
    clock < from || Date.now() <= to
      ? "Set the clock there: until then nothing on that host takes the certificate."
      : "Renew it at the site: `drydock install BUNDLE --new-certs`.",
  );
}

/** Closes the stream in any case. @throws ClientFailure, NotReached */
function handshake(stream: Duplex, target: string, options: ProofOptions): Promise<Validity> {
  const { promise, resolve, reject } = Promise.withResolvers<Validity>();
  const where = hostPort(target, options.port);
  const socket = tls.connect({
    socket: stream,
    ca: options.ca,
    // RFC 6066 section 3: no IP addresses in SNI. The identity is checked against the target in either case.
    ...(isIP(target) === 0 ? { servername: target } : {}),
    checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(target, certificate),
  });
  const timer = setTimeout(
    () => reject(new NotReached(`no TLS handshake with ${where} within ${options.timeoutMs / 1000} s`, isIt)),
    options.timeoutMs,
  );
  stream.once("close", () => reject(new NotReached(`${where} closed the stream before TLS was up`, isIt)));
  socket.once("secureConnect", () => resolve(validity(socket.getPeerCertificate(true))));
  socket.on("error", (error) => reject(tlsFailure(error, where)));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
    stream.destroy();
  });
}

function validity(certificate: tls.DetailedPeerCertificate): Validity {
  const both = [certificate, certificate.issuerCertificate];
  return {
    from: Math.max(...both.map(({ valid_from }) => Date.parse(valid_from))),
    to: Math.min(...both.map(({ valid_to }) => Date.parse(valid_to))),
  };
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
  // OpenSSL's whole text has numbers and its own files in it; Node gives what it means as `reason`.
  const why = "reason" in error ? String(error.reason) : errorText(error);
  return new ClientFailure("failed", `TLS with ${where}: ${why}`, isIt);
}

const isIt = "Is it the registry that answers there?";

function altNames(certificate: unknown): string {
  const names =
    typeof certificate === "object" && certificate !== null && "subjectaltname" in certificate
      ? certificate.subjectaltname
      : undefined;
  return typeof names === "string" ? ` (${names.slice(0, 300)})` : "";
}
