/**
 * The keys of a bundle on the connected machine: made once, and used again for the next bundle of the
 * same name while they fit, so that a second bundle changes nothing that clients trust. The authority's
 * key does not leave this module except to sign.
 *
 * When they fit:
 * - the authority: the request's subject (and key size, if the request says one), and at least one year
 *   left; half its lifetime if it lives for less than two years.
 * - the server pair: signed by that authority, the subject and key size likewise, exactly the names and
 *   addresses asked for, and at least 60 days left; half its lifetime if it lives for less than 120 days.
 *
 * A server pair that is lost or broken is made again. An authority that is lost or broken is an error:
 * a new one would shut out every client without a word.
 */
import { createPrivateKey, type X509Certificate } from "node:crypto";
import { realpath } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { DrydockError } from "../errors.ts";
import { takeLock } from "../lock.ts";
import { createAuthority } from "./authority.ts";
import { day } from "./duration.ts";
import { describeCertificate, readCertificate } from "./inspect.ts";
import {
  type Generation,
  prepareStore,
  readGeneration,
  recover,
  retiredName,
  writeGeneration,
} from "./key-folder.ts";
import type { CertificateRequest } from "./request.ts";
import { issueServer, serverNames } from "./server.ts";
import { derOf, type KeyPair, subjectIn, subjectOf } from "./x509.ts";

/** Making two keys of 4096 bits takes some seconds; whoever holds a key store for longer hangs. */
const patience = 120_000;

export interface Wanted {
  ca: CertificateRequest;
  server: CertificateRequest;
  /** of the registry at the site; the server request's `hosts` are added */
  addresses: readonly string[];
}

export interface KeptPair {
  /** the CA's certificate, PEM */
  ca: string;
  server: KeyPair;
  /** what was made by this call; the rest was there */
  made: { ca: boolean; server: boolean };
  /** why something that was there did not fit; absent where nothing was there, or all fitted */
  why?: string;
}

/** `$XDG_DATA_HOME/drydock/keys`, as the XDG base directory specification has it. */
export function defaultKeyStore(environment: NodeJS.ProcessEnv = process.env): string {
  const given = environment.XDG_DATA_HOME;
  const data =
    given !== undefined && isAbsolute(given) ? given : join(environment.HOME || homedir(), ".local/share");
  return join(data, "drydock", "keys");
}

/**
 * The CA and the server pair for the bundle `name`, out of STORE/NAME or made and kept there. Two calls
 * at once for the same name follow one another and get the same pair.
 *
 * @param now the clock, for tests.
 * @throws DrydockError "input" for a store that is broken or not ours, "host" if it cannot be written,
 *   "preflight" if another process has it for two minutes.
 */
export async function keepPair(
  store: string,
  name: string,
  wanted: Wanted,
  now = new Date(),
): Promise<KeptPair> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)) {
    throw new DrydockError("input", `keep keys: ${JSON.stringify(name)} makes no folder name`);
  }
  serverNames(wanted.server, wanted.addresses); // an impossible address stops us before anything is made
  await prepareStore(store);
  const root = await realpath(store);
  const lock = await takeLock("key store", join(root, name), patience);
  try {
    await recover(root, name);
    return await fit(root, name, wanted, now);
  } finally {
    await lock.release();
  }
}

async function fit(store: string, name: string, wanted: Wanted, now: Date): Promise<KeptPair> {
  const folder = join(store, name);
  const kept = await readGeneration(folder);
  const old = keptAuthority(kept, folder, now);
  const caReason = old && reasonAgainstAuthority(old.certificate, wanted.ca, now);
  const caFits = old !== undefined && caReason === undefined;
  const authority = caFits ? old.pair : await createAuthority(wanted.ca, now);
  const serverReason = caFits ? reasonAgainstServer(kept, old.certificate, wanted, now) : undefined;

  if (caFits && serverReason === undefined && kept.server !== undefined && kept.serverKey !== undefined) {
    const server = { certificate: kept.server, key: kept.serverKey };
    return { ca: authority.certificate, server, made: { ca: false, server: false } };
  }
  const server = await issueServer(authority, wanted.server, wanted.addresses, now);
  const generation: Generation = {
    ca: authority.certificate,
    caKey: authority.key,
    server: server.certificate,
    serverKey: server.key,
  };
  const retired = old !== undefined && !caFits ? fingerprintStart(old.certificate) : undefined;
  await writeGeneration(store, name, generation, retired);
  const result: KeptPair = { ca: authority.certificate, server, made: { ca: !caFits, server: true } };
  if (caReason !== undefined && retired !== undefined) {
    result.why = `new CA and server certificate: ${caReason}; the old ones are in ${join(store, retiredName(name, retired))}`;
  } else if (serverReason !== undefined) {
    result.why = `new server certificate: ${serverReason}`;
  }
  return result;
}

function fingerprintStart(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(":", "").slice(0, 16).toLowerCase();
}

/** undefined where nothing is kept at all. @throws DrydockError for half of something. */
function keptAuthority(
  kept: Partial<Generation>,
  folder: string,
  now: Date,
): { pair: KeyPair; certificate: X509Certificate } | undefined {
  const { ca, caKey } = kept;
  if (ca === undefined && caKey === undefined && kept.server === undefined && kept.serverKey === undefined) {
    return undefined;
  }
  if (ca === undefined) throw broken(folder, "ca.pem is missing");
  if (caKey === undefined) throw broken(folder, "ca-key.pem is missing");
  const certificate = tried(() => readCertificate(ca));
  if (certificate === undefined) throw broken(folder, "ca.pem cannot be read");
  const key = tried(() => createPrivateKey(caKey));
  if (key === undefined) throw broken(folder, "ca-key.pem cannot be read");
  if (!certificate.checkPrivateKey(key)) throw broken(folder, "ca-key.pem is not the key of ca.pem");
  if (!certificate.ca) throw broken(folder, "ca.pem is not a CA's certificate");
  if (key.asymmetricKeyType !== "rsa") throw broken(folder, "ca-key.pem is not an RSA key");
  if (certificate.validFromDate.getTime() > now.getTime()) {
    throw new DrydockError("certificate", `key store ${JSON.stringify(folder)}: ca.pem is not valid yet`, {
      hint: `It begins on ${certificate.validFrom}, and this machine's clock says ${now.toISOString()}.`,
    });
  }
  return { pair: { certificate: ca, key: caKey }, certificate };
}

function broken(folder: string, what: string): DrydockError {
  return new DrydockError("input", `key store ${JSON.stringify(folder)}: ${what}`, {
    hint: "Put the folder back from a backup. Or move it away: a new CA is made then, and every client must be given it.",
  });
}

function reasonAgainstAuthority(
  ca: X509Certificate,
  request: CertificateRequest,
  now: Date,
): string | undefined {
  if (!hasSubject(ca, request)) return "the CA's subject has changed";
  if (!hasKeySize(ca, request)) return "another size of the CA's key is asked for";
  return reasonAgainstDates(ca, "the CA", 365 * day, now);
}

function reasonAgainstServer(
  kept: Partial<Generation>,
  ca: X509Certificate,
  wanted: Wanted,
  now: Date,
): string | undefined {
  const { server, serverKey } = kept;
  if (server === undefined || serverKey === undefined) return "the old one, or its key, is missing";
  const certificate = tried(() => readCertificate(server));
  const key = tried(() => createPrivateKey(serverKey));
  if (certificate === undefined || key === undefined) return "the old one, or its key, cannot be read";
  if (!certificate.checkPrivateKey(key)) return "the old one and its key do not belong together";
  if (!certificate.checkIssued(ca) || !certificate.verify(ca.publicKey))
    return "the old one is not signed by the CA";
  if (!hasSubject(certificate, wanted.server)) return "its subject has changed";
  if (!hasKeySize(certificate, wanted.server)) return "another size of its key is asked for";
  return reasonAgainstNames(server, wanted) ?? reasonAgainstDates(certificate, "the old one", 60 * day, now);
}

function reasonAgainstNames(server: string, wanted: Wanted): string | undefined {
  const { names, ips } = describeCertificate(server);
  const has = new Set([...names, ...ips]);
  const asked = serverNames(wanted.server, wanted.addresses);
  const needs = new Set([...asked.names, ...asked.ips]);
  const added = [...needs].filter((one) => !has.has(one));
  if (added.length > 0) return `it must also name ${added.join(", ")}`;
  const removed = [...has].filter((one) => !needs.has(one));
  if (removed.length > 0) return `it must no longer name ${removed.join(", ")}`;
  return undefined;
}

/** @param needed milliseconds that should be left; half its lifetime is enough for a short-lived one. */
function reasonAgainstDates(
  certificate: X509Certificate,
  what: string,
  needed: number,
  now: Date,
): string | undefined {
  const end = certificate.validToDate.getTime();
  const lifetime = end - certificate.validFromDate.getTime();
  if (end - now.getTime() >= Math.min(needed, lifetime / 2)) return undefined;
  const tense = end < now.getTime() ? "ended" : "ends";
  return `${what} ${tense} on ${certificate.validToDate.toISOString().slice(0, 10)}`;
}

function hasSubject(certificate: X509Certificate, request: CertificateRequest): boolean {
  return derOf(subjectIn(certificate.raw)).equals(derOf(subjectOf(request)));
}

function hasKeySize(certificate: X509Certificate, request: CertificateRequest): boolean {
  const size = certificate.publicKey.asymmetricKeyDetails?.modulusLength;
  return request.key === undefined || request.key.size === size;
}

/** undefined where it throws: for texts that may be damaged, where the caller says so in its own words. */
function tried<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
