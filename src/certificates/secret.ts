/**
 * Private keys under a passphrase: encrypted PKCS#8 (RFC 5958) with PBES2 (RFC 8018): PBKDF2 with
 * HMAC-SHA-256 and 600,000 rounds, AES-256-CBC. OpenSSL and Node read it as it is.
 *
 * Node's own export uses 2,048 rounds, and forge's derivation is plain JavaScript, far too slow for
 * this count. So the derivation and the cipher are node:crypto's, and forge writes the envelope.
 */
import { createCipheriv, createPrivateKey, pbkdf2, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";
import { DrydockError } from "../errors.ts";
import { normalizeCode } from "./code.ts";
import { derOf } from "./x509.ts";

const { asn1 } = forge;

/** OWASP's figure for PBKDF2 with HMAC-SHA-256. About 0.15 s. */
const rounds = 600_000;

const oid = {
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  hmacWithSha256: "1.2.840.113549.2.9",
  aes256Cbc: "2.16.840.1.101.3.4.1.42",
};

const label = "ENCRYPTED PRIVATE KEY";

/** Whether a PEM text holds a key under a passphrase, as PKCS#8 or in OpenSSL's older way. */
export function isEncrypted(pem: string): boolean {
  return pem.includes(`-----BEGIN ${label}-----`) || /^Proc-Type: 4,ENCRYPTED/m.test(pem);
}

/**
 * @param pem a private key that is not encrypted.
 * @returns PEM, "ENCRYPTED PRIVATE KEY".
 * @throws DrydockError "input" for an empty passphrase.
 */
export async function encryptKey(pem: string, passphrase: string): Promise<string> {
  if (passphrase === "") throw new DrydockError("input", "encrypt key: the passphrase is empty");
  const plain = createPrivateKey(pem).export({ type: "pkcs8", format: "der" });
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const key = await promisify(pbkdf2)(passphrase, salt, rounds, 32, "sha256");
  const cipher = createCipheriv("aes-256-cbc", key, iv);
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  plain.fill(0);
  const base64 = derOf(envelope(salt, iv, encrypted)).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

/** EncryptedPrivateKeyInfo, RFC 5958, 3, with the parameters of RFC 8018, A.2 and A.4. */
function envelope(salt: Buffer, iv: Buffer, encrypted: Buffer): forge.asn1.Asn1 {
  const derivation = sequence(
    identifier(oid.pbkdf2),
    sequence(
      octets(salt),
      primitive(asn1.Type.INTEGER, asn1.integerToDer(rounds).getBytes()),
      sequence(identifier(oid.hmacWithSha256), primitive(asn1.Type.NULL, "")),
    ),
  );
  const cipher = sequence(identifier(oid.aes256Cbc), octets(iv));
  return sequence(sequence(identifier(oid.pbes2), sequence(derivation, cipher)), octets(encrypted));
}

function sequence(...parts: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, parts);
}

function primitive(type: forge.asn1.Type, value: string): forge.asn1.Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, value);
}

function identifier(value: string): forge.asn1.Asn1 {
  return primitive(asn1.Type.OID, asn1.oidToDer(value).getBytes());
}

function octets(value: Buffer): forge.asn1.Asn1 {
  return primitive(asn1.Type.OCTETSTRING, value.toString("latin1"));
}

/** Another one may be right: it can be asked for again. */
export class WrongPassphrase extends DrydockError {}

/**
 * @param encryptedPem as encryptKey or OpenSSL writes it.
 * @param passphrase as it was typed: tried so, and then as a code from `makeCode` that was copied by hand.
 * @returns PEM, PKCS#8, not encrypted.
 * @throws WrongPassphrase, or DrydockError "input" with what is wrong with the key's text.
 */
export async function decryptKey(encryptedPem: string, passphrase: string): Promise<string> {
  checkEnvelope(encryptedPem);
  for (const attempt of new Set([passphrase, normalizeCode(passphrase)])) {
    try {
      const key = createPrivateKey({ key: encryptedPem, format: "pem", passphrase: attempt });
      return key.export({ type: "pkcs8", format: "pem" }).toString();
    } catch {
      // OpenSSL's text differs with the padding that a wrong key happens to give; the envelope is sound,
      // so the passphrase it is.
    }
  }
  throw new WrongPassphrase("input", "decrypt the server's key: wrong passphrase", {
    hint: "Give the code that `drydock bundle` showed for this very bundle, or the passphrase that was chosen for it.",
  });
}

/** Tells a damaged text from a wrong passphrase. */
function checkEnvelope(pem: string): void {
  if (!isEncrypted(pem)) throw new DrydockError("input", "decrypt key: it is not an encrypted private key");
  try {
    const [message] = forge.pem.decode(pem);
    if (message === undefined) throw new Error("no PEM text");
    if (message.type === label) asn1.fromDer(message.body);
  } catch (error) {
    throw new DrydockError("input", "decrypt key: its text is damaged", { cause: error });
  }
}
