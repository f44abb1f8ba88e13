/** Reading certificates: what one says, and whether an authority, a server certificate and a key fit. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { DrydockError, errorText } from "../errors.ts";
import { checkAddress, shortIPv6 } from "./addresses.ts";

export interface CertificateDescription {
  /** one line, as "C=DE, O=Example, CN=name"; not for comparing */
  subject: string;
  issuer: string;
  notBefore: Date;
  notAfter: Date;
  /** DNS names of the subject's alternative names */
  names: string[];
  /** IP addresses, IPv6 in its shortest form */
  ips: string[];
  isAuthority: boolean;
  /** SHA-256 of the DER: 64 hexadecimal digits in pairs with colons, upper case, as OpenSSL prints it */
  fingerprint256: string;
  /** hexadecimal, upper case */
  serial: string;
}

/**
 * @param where names the certificate in the error's text.
 * @throws DrydockError "input" if it is no PEM certificate.
 */
export function readCertificate(pem: string, where = "certificate"): X509Certificate {
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) {
    throw new DrydockError(
      "input",
      `read ${where}: wanted a PEM certificate, found no BEGIN CERTIFICATE line`,
    );
  }
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new DrydockError("input", `read ${where}: no valid certificate: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** Describes the first certificate in `pem`. @throws DrydockError "input" if there is none. */
export function describeCertificate(pem: string): CertificateDescription {
  const certificate = readCertificate(pem);
  return {
    subject: certificate.subject.replaceAll("\n", ", "),
    issuer: certificate.issuer.replaceAll("\n", ", "),
    notBefore: certificate.validFromDate,
    notAfter: certificate.validToDate,
    ...alternativeNames(certificate),
    isAuthority: certificate.ca,
    fingerprint256: certificate.fingerprint256,
    serial: certificate.serialNumber,
  };
}

/** Node gives one line: `DNS:a.example, IP Address:10.0.0.1`, with values in JSON quotes where they are odd. */
function alternativeNames(certificate: X509Certificate): { names: string[]; ips: string[] } {
  const names: string[] = [];
  const ips: string[] = [];
  for (const [, kind, raw = ""] of (certificate.subjectAltName ?? "").matchAll(
    /(DNS|IP Address|[A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/g,
  )) {
    const value = raw.startsWith('"') ? String(JSON.parse(raw)) : raw;
    if (kind === "DNS") names.push(value);
    if (kind === "IP Address") ips.push(value.includes(":") ? shortIPv6(value) : value);
  }
  return { names, ips };
}

export interface CertificateProblem {
  /** what is wrong: the issuer or usage, the key, the dates, a name that is missing */
  about: "issuer" | "key" | "not yet valid" | "ended" | "name";
  problem: string;
  hint?: string;
}

/**
 * Everything that would make a client refuse the server, in plain words; empty if all is well.
 *
 * @param pems PEM texts; `key` only where it is at hand, not encrypted.
 * @param expected the addresses at which clients reach the registry, and the clock of this host.
 * @throws DrydockError "input" if one of the texts cannot be read at all.
 */
export function checkCertificates(
  pems: { ca: string; server: string; key?: string },
  expected: { addresses: readonly string[]; now: Date },
): CertificateProblem[] {
  const ca = readCertificate(pems.ca, "CA certificate");
  const server = readCertificate(pems.server, "server certificate");
  return [
    ...checkChain(ca, server),
    ...(pems.key === undefined ? [] : checkKey(server, pems.key)),
    ...checkDates(ca, "CA certificate", expected.now),
    ...checkDates(server, "server certificate", expected.now),
    ...expected.addresses.flatMap((address) => checkName(server, address)),
  ];
}

/** serverAuth, RFC 5280, 4.2.1.12 */
const serverAuth = "1.3.6.1.5.5.7.3.1";

function checkChain(ca: X509Certificate, server: X509Certificate): CertificateProblem[] {
  const problems: CertificateProblem[] = [];
  if (!ca.ca) {
    problems.push({
      about: "issuer",
      problem: "the CA certificate is not a CA's (no CA:TRUE)",
      hint: "Is it the server's own certificate? Clients must be given the one that signed it.",
    });
  }
  if (!server.checkIssued(ca)) {
    problems.push({
      about: "issuer",
      problem: "the server certificate was not issued by this CA: its issuer or key identifier differ",
    });
  } else if (!server.verify(ca.publicKey)) {
    problems.push({ about: "issuer", problem: "the CA's signature on the server certificate is wrong" });
  }
  // Despite its name this holds the extended key usages.
  const usages = server.keyUsage as string[] | undefined;
  if (usages !== undefined && !usages.includes(serverAuth)) {
    problems.push({
      about: "issuer",
      problem: "the server certificate is not meant for servers (no serverAuth)",
    });
  }
  return problems;
}

function checkKey(server: X509Certificate, key: string): CertificateProblem[] {
  try {
    if (server.checkPrivateKey(createPrivateKey(key))) return [];
  } catch (error) {
    return [{ about: "key", problem: `the server's key cannot be read: ${errorText(error)}` }];
  }
  return [{ about: "key", problem: "the server's key does not belong to the server certificate" }];
}

function checkDates(certificate: X509Certificate, what: string, now: Date): CertificateProblem[] {
  const clock = `This host's clock says ${now.toISOString()}.`;
  if (certificate.validFromDate.getTime() > now.getTime()) {
    const begin = certificate.validFromDate.toISOString();
    const problem = `the ${what} is not valid before ${begin}`;
    return [{ about: "not yet valid", problem, hint: `${clock} Is it slow?` }];
  }
  if (certificate.validToDate.getTime() < now.getTime()) {
    const problem = `the ${what} ended on ${certificate.validToDate.toISOString()}`;
    return [{ about: "ended", problem, hint: clock }];
  }
  return [];
}

function checkName(server: X509Certificate, text: string): CertificateProblem[] {
  const { kind, value } = checkAddress(text);
  const found = kind === "ip" ? server.checkIP(value) : server.checkHost(value, { subject: "never" });
  if (found !== undefined) return [];
  const { names, ips } = alternativeNames(server);
  const named = [...names, ...ips].join(", ") || "nothing";
  const problem = `the server certificate does not name ${value}`;
  return [{ about: "name", problem, hint: `It names ${named}.` }];
}
