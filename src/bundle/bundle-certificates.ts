/**
 * The certificates that a bundle carries: CA and server pair out of the key store, the server's key
 * encrypted; or the requests from which the site makes them itself.
 */
import type { BundleCertificates } from "../archive/bundle-index.ts";
import { makeCode } from "../certificates/code.ts";
import { keepPair } from "../certificates/custody.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../certificates/request.ts";
import { encryptKey } from "../certificates/secret.ts";
import { digestOf } from "../oci/digest.ts";
import type { Content } from "./content.ts";
import type { Manifest } from "./manifest.ts";

/** How the server's key crosses. `code`: a passphrase is made here and shown once. */
export type KeyProtection = { kind: "code" } | { kind: "passphrase"; passphrase: string } | { kind: "none" };

export interface PlannedCertificates {
  certificates: BundleCertificates;
  content: Content;
  /** the passphrase that was made; whoever installs needs it */
  code?: string;
  /** what was made by this build, for people; absent where all of it was used again */
  made?: string;
}

/** @throws DrydockError "input" if the key store is broken, or as `keepPair` does. */
export async function planCertificates(
  manifest: Manifest,
  keyStore: string,
  protection: KeyProtection,
  now: Date,
): Promise<PlannedCertificates> {
  const [name = manifest.name] = manifest.addresses;
  const request = {
    ca: manifest.certificates.ca ?? defaultAuthorityRequest(manifest.name),
    server: manifest.certificates.server ?? defaultServerRequest(name),
  };
  if (manifest.certificates.from === "site") {
    return { certificates: { from: "site", request }, content: contentOf([]) };
  }
  const pair = await keepPair(keyStore, manifest.name, { ...request, addresses: manifest.addresses }, now);
  const code = protection.kind === "code" ? makeCode() : undefined;
  const passphrase = protection.kind === "passphrase" ? protection.passphrase : code;
  const key = passphrase === undefined ? pair.server.key : await encryptKey(pair.server.key, passphrase);
  const parts = [pair.ca, pair.server.certificate, key].map((pem) => Buffer.from(pem));
  const [ca, server, keyDigest] = parts.map(digestOf);
  if (!ca || !server || !keyDigest) throw new Error("three parts, three digests");
  const made = describeMade(pair.made, pair.why);
  return {
    certificates: { from: "bundle", ca, server, key: keyDigest, keyEncrypted: passphrase !== undefined },
    content: contentOf(parts),
    ...(code === undefined ? {} : { code }),
    ...(made === undefined ? {} : { made }),
  };
}

function describeMade(made: { ca: boolean; server: boolean }, why: string | undefined): string | undefined {
  if (why !== undefined) return why;
  if (made.ca) return "new CA and server certificate";
  return made.server ? "new server certificate of the CA that was there" : undefined;
}

/** CA, server certificate, key: in this order, the key last. */
function contentOf(parts: Buffer[]): Content {
  return {
    name: "certificates",
    blobs: parts.map((bytes, number) => ({
      digest: digestOf(bytes),
      size: bytes.length,
      role: number === 2 ? "key" : "certificate",
    })),
    repositories: {},
    fill: async (sink) => {
      for (const bytes of parts) await sink.write(digestOf(bytes), once(bytes), "certificates");
    },
  };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
