/**
 * A release's own copies of the site's certificates and keys, as they were when it was completed: going
 * back to it puts them back.
 */

import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { cannotWrite, makeFolder, syncFolder, writeDurably } from "./durable.ts";
import { readBytesIfThere } from "./json-file.ts";
import type { ReleaseLayout, SiteLayout } from "./layout.ts";

/** Each undefined if it isn't there. PEM. */
export interface CertificateFiles {
  ca: Buffer | undefined;
  server: Buffer | undefined;
  key: Buffer | undefined;
  /** only where the site makes its own certificates */
  caKey: Buffer | undefined;
}

type Paths = Pick<SiteLayout, "certs" | "caCertificate" | "serverCertificate" | "serverKey" | "caKey">;

/** @param at the site itself, or a release's copies @throws DrydockError "host" */
export async function readCertificates(at: Paths): Promise<CertificateFiles> {
  const [ca, server, key, caKey] = await Promise.all(
    [at.caCertificate, at.serverCertificate, at.serverKey, at.caKey].map(readBytesIfThere),
  );
  return { ca, server, key, caKey };
}

/**
 * Copies those of `from` to `to`, durably, keys 0600; writes only those that differ. One that `from` lacks
 * stays as it is: a CA's key is nowhere else.
 * @returns whether one differed @throws DrydockError "host"
 */
export async function copyCertificates(from: Paths, to: Paths): Promise<boolean> {
  const [wanted, there] = [await readCertificates(from), await readCertificates(to)];
  const files = [
    { content: wanted.caKey, old: there.caKey, path: to.caKey, mode: 0o600 },
    { content: wanted.key, old: there.key, path: to.serverKey, mode: 0o600 },
    { content: wanted.ca, old: there.ca, path: to.caCertificate, mode: 0o644 },
    { content: wanted.server, old: there.server, path: to.serverCertificate, mode: 0o644 },
  ];
  let differed = false;
  for (const { content, old, path, mode } of files) {
    if (content === undefined || old?.equals(content)) continue;
    if (!differed) await makeFolder(to.certs);
    await writeDurably(path, content, { mode });
    differed = true;
  }
  return differed;
}

/** Keeps the site's certificates, as they are now, in the release's folder. */
export async function keepCertificates(layout: SiteLayout, release: ReleaseLayout): Promise<void> {
  await copyCertificates(layout, release);
}

/**
 * The certificates that had drydock's names when a registry was taken over are there again; those that got
 * such a name since go. @returns whether one differed @throws DrydockError "host"
 */
export async function giveBackCertificates(layout: SiteLayout): Promise<boolean> {
  const before = await readCertificates(layout.adopted);
  const there = await readCertificates(layout);
  const names = {
    ca: "caCertificate",
    server: "serverCertificate",
    key: "serverKey",
    caKey: "caKey",
  } as const;
  let differed = await copyCertificates(layout.adopted, layout);
  for (const one of ["ca", "server", "key", "caKey"] as const) {
    if (before[one] !== undefined || there[one] === undefined) continue;
    await removeDurably(layout[names[one]]);
    differed = true;
  }
  return differed;
}

async function removeDurably(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncFolder(dirname(path));
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
