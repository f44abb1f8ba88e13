/**
 * X.509 certificates (RFC 5280) out of node-forge's parts. What verifiers disagree about is settled here:
 * the issuer is the authority's own subject, byte for byte; the authority key identifier is the
 * authority's subject key identifier; the digest is always SHA-2; text outside PrintableString is
 * UTF8String.
 *
 * Keys and signatures are made by node:crypto, off the main thread. forge's own signing blocks it for a
 * quarter of a second with 4096 bits, and its key generator for far longer.
 */
import { createPrivateKey, generateKeyPair, type KeyObject, randomBytes, sign } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";
import { hour } from "./duration.ts";
import type { CertificateRequest } from "./request.ts";

const { asn1, pki } = forge;

/** A certificate and its private key (PKCS#8, not encrypted), both PEM. */
export interface KeyPair {
  certificate: string;
  key: string;
}

/** A clock at the site that is a little slow must not make a new certificate invalid. */
export const backdate = hour / 12;

export async function makeKey(size: number): Promise<{ publicKey: string; key: string }> {
  const pair = await promisify(generateKeyPair)("rsa", {
    modulusLength: size,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return { publicKey: pair.publicKey, key: pair.privateKey };
}

export interface Certificate {
  /** PEM, SubjectPublicKeyInfo */
  publicKey: string;
  subject: forge.asn1.Asn1;
  issuer: forge.asn1.Asn1;
  notBefore: Date;
  notAfter: Date;
  /** in forge's notation */
  extensions: object[];
}

/** Signs it with the issuer's key. @returns PEM. */
export async function signCertificate(content: Certificate, issuerKey: string): Promise<string> {
  const certificate = pki.createCertificate();
  certificate.publicKey = pki.publicKeyFromPem(content.publicKey);
  certificate.serialNumber = serialNumber();
  certificate.validity.notBefore = content.notBefore;
  certificate.validity.notAfter = content.notAfter;
  certificate.setExtensions(content.extensions);

  const key = createPrivateKey(issuerKey);
  const digest = digestFor(key);
  const algorithm = pki.oids[`${digest}WithRSAEncryption`];
  if (algorithm === undefined) throw new Error(`no object identifier for ${digest}`);
  certificate.siginfo.algorithmOid = algorithm;
  certificate.signatureOid = algorithm;

  certificate.signature = "";
  const unsigned = parts(pki.certificateToAsn1(certificate))[0];
  if (unsigned === undefined) throw new Error("no TBSCertificate");
  // TBSCertificate, RFC 5280, 4.1: version, serialNumber, signature, issuer, validity, subject, …
  parts(unsigned)[3] = content.issuer;
  parts(unsigned)[5] = content.subject;
  certificate.tbsCertificate = unsigned;
  const signature = await promisify(sign)(digest, derOf(unsigned), key);
  certificate.signature = signature.toString("latin1");
  return pki.certificateToPem(certificate).replaceAll("\r\n", "\n");
}

/** Random and positive, always 20 octets: the first is between 0x40 and 0x7f (RFC 5280, 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(20);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

/** The same choice by key size as cfssl's. */
function digestFor(key: KeyObject): "sha256" | "sha384" | "sha512" {
  const size = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (size >= 4096) return "sha512";
  return size >= 3072 ? "sha384" : "sha256";
}

/** What PrintableString may hold (X.680, 41.4). */
const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

/** The subject of a request as a Name: C, ST, L, O, OU of all its names, then CN. */
export function subjectOf(request: CertificateRequest): forge.asn1.Asn1 {
  const attributes: forge.pki.CertificateField[] = [];
  const add = (shortName: string, value: string | undefined) => {
    if (value === undefined) return;
    const tag = printable.test(value) ? asn1.Type.PRINTABLESTRING : asn1.Type.UTF8;
    // The declared type of valueTagClass is forge's Class; what forge reads there is a Type.
    const valueTagClass = tag as unknown as forge.asn1.Class;
    attributes.push({ type: oidOf(shortName), shortName, value, valueTagClass });
  };
  for (const shortName of ["C", "ST", "L", "O", "OU"] as const) {
    for (const name of request.names) add(shortName, name[shortName]);
  }
  add("CN", request.CN);
  return pki.distinguishedNameToAsn1({ attributes });
}

const attributeNames: Record<string, string> = {
  C: "countryName",
  ST: "stateOrProvinceName",
  L: "localityName",
  O: "organizationName",
  OU: "organizationalUnitName",
  CN: "commonName",
};

function oidOf(shortName: string): string {
  const oid = pki.oids[attributeNames[shortName] ?? ""];
  if (oid === undefined) throw new Error(`no object identifier for ${shortName}`);
  return oid;
}

/** A certificate's subject exactly as it is encoded there. */
export function subjectIn(der: Buffer): forge.asn1.Asn1 {
  const body = parts(decoded(der))[0];
  const subject = body === undefined ? undefined : parts(body)[5];
  if (subject === undefined) throw new Error("a certificate without a subject");
  return subject;
}

/** The subject key identifier of a certificate with an RSA key, as bytes in a string; computed if it has none. */
export function keyIdentifierOf(der: Buffer): string {
  const certificate = pki.certificateFromAsn1(decoded(der));
  const extension = certificate.getExtension("subjectKeyIdentifier") as
    | { subjectKeyIdentifier?: string }
    | undefined;
  const hex = extension?.subjectKeyIdentifier;
  if (hex !== undefined) return forge.util.hexToBytes(hex);
  return certificate.generateSubjectKeyIdentifier().getBytes();
}

function decoded(der: Buffer): forge.asn1.Asn1 {
  return asn1.fromDer(forge.util.createBuffer(der.toString("latin1")));
}

export function derOf(node: forge.asn1.Asn1): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "latin1");
}

function parts(node: forge.asn1.Asn1): forge.asn1.Asn1[] {
  if (!Array.isArray(node.value)) throw new Error("a primitive ASN.1 value where parts were expected");
  return node.value;
}
