/**
 * The sets of certificates and keys that a site is, was or will be served with, each in a folder of its own that
 * never changes, so that a container which mounts one starts with just that one, whenever the power is cut. Those
 * in certs/ are copies of one set, for people to find; they may be another moment's for a moment.
 */
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { cannotWrite, makeFolder, namesIn, syncFolder, writeDurably } from "./durable.ts";
import { readBytesIfThere } from "./json-file.ts";
import type { CertificatePaths, SiteLayout } from "./layout.ts";

/** Each undefined if it isn't there. PEM. */
export interface CertificateFiles {
  ca: Buffer | undefined;
  server: Buffer | undefined;
  key: Buffer | undefined;
  /** only where the site makes its own certificates */
  caKey: Buffer | undefined;
}

/** @param at the site itself, a set, or what was there before drydock @throws DrydockError "host" */
export async function readCertificates(at: CertificatePaths): Promise<CertificateFiles> {
  const [ca, server, key, caKey] = await Promise.all(
    [at.caCertificate, at.serverCertificate, at.serverKey, at.caKey].map(readBytesIfThere),
  );
  return { ca, server, key, caKey };
}

/** What a set of them is called by. */
export function setDigest({ ca, server, key, caKey }: CertificateFiles): Digest {
  return digestOf(JSON.stringify([ca, server, key, caKey].map((file) => file?.toString("latin1") ?? null)));
}

/** Makes a set of them, on disk when this returns. @throws DrydockError "host" */
export async function keepCertificates(layout: SiteLayout, files: CertificateFiles): Promise<Digest> {
  const digest = setDigest(files);
  const set = layout.certificateSet(digest);
  await makeFolder(set.certs);
  await showCertificates(files, set);
  return digest;
}

/**
 * Makes them what is there, and nothing else: durably, one file after the other, keys 0600.
 * @returns whether one differed @throws DrydockError "host"
 */
export async function showCertificates(files: CertificateFiles, to: CertificatePaths): Promise<boolean> {
  const there = await readCertificates(to);
  const all = [
    { content: files.caKey, old: there.caKey, path: to.caKey, mode: 0o600 },
    { content: files.key, old: there.key, path: to.serverKey, mode: 0o600 },
    { content: files.ca, old: there.ca, path: to.caCertificate, mode: 0o644 },
    { content: files.server, old: there.server, path: to.serverCertificate, mode: 0o644 },
  ];
  const differing = all.filter(({ content, old }) =>
    content === undefined ? old !== undefined : old?.equals(content) !== true,
  );
  for (const { content, path, mode } of differing) {
    if (content === undefined) await removeDurably(path);
    else {
      await makeFolder(to.certs);
      await writeDurably(path, content, { mode });
    }
  }
  return differing.length > 0;
}

/**
 * The sets but for some go. One with a CA's key that is in none of these stays, too: it is nowhere else.
 * @param tried one that was never served, and goes all the same @throws DrydockError "host"
 */
export async function removeOtherCertificates(
  layout: SiteLayout,
  keep: ReadonlySet<Digest>,
  tried?: Digest,
): Promise<void> {
  const sets = (await namesIn(layout.keptCertificates)).map((name) => `sha256:${name}`).filter(isDigest);
  const keyOf = async (set: Digest) =>
    (await readCertificates(layout.certificateSet(set))).caKey?.toString("latin1");
  const keys = new Set(await Promise.all([...keep].map(keyOf)));
  for (const set of sets) {
    if (keep.has(set)) continue;
    const key = set === tried ? undefined : await keyOf(set);
    if (key !== undefined && !keys.has(key)) {
      keys.add(key);
      continue;
    }
    const { certs } = layout.certificateSet(set);
    await rm(certs, { recursive: true, force: true }).catch((error: unknown) => {
      throw cannotWrite(certs, error);
    });
  }
}

async function removeDurably(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncFolder(dirname(path));
  } catch (error) {
    throw cannotWrite(path, error);
  }
}
