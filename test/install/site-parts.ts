/** A site as the earlier steps leave it: certificates, storage with an image, the registry's own image. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createAuthority } from "../../src/certificates/authority.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../../src/certificates/request.ts";
import { issueServer } from "../../src/certificates/server.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { loadImage } from "../../src/engine/load.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { blobPath, layerLinkPath, revisionLinkPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import type { TestImage } from "../lab/images.ts";

export const registryName = "registry.plant7.lan";

/** Makes the folders and a fresh CA with a certificate for `addresses`. */
export async function makeSite(root: string, addresses: string[]): Promise<SiteLayout> {
  const layout = siteLayout(root);
  await mkdir(layout.certs, { recursive: true });
  await mkdir(layout.storage, { recursive: true });
  await makeCertificates(layout, addresses);
  return layout;
}

/** A new CA and a new server certificate. */
export async function makeCertificates(layout: SiteLayout, addresses: string[]): Promise<void> {
  const authority = await createAuthority(defaultAuthorityRequest("test"));
  const server = await issueServer(authority, defaultServerRequest(registryName), addresses);
  await writeFile(layout.caCertificate, authority.certificate);
  await writeFile(layout.serverCertificate, server.certificate);
  await writeFile(layout.serverKey, server.key, { mode: 0o600 });
}

/** Puts an image into the storage, as the steps "place" and "link" do. */
export async function storeImage(
  layout: SiteLayout,
  repository: string,
  tag: string,
  image: TestImage,
): Promise<void> {
  const write = async (path: string, content: Buffer | string) => {
    const at = join(layout.storage, path);
    await mkdir(dirname(at), { recursive: true });
    await writeFile(at, content);
  };
  for (const child of image.children ?? []) await storeRevision(write, repository, child);
  await storeRevision(write, repository, image);
  await write(tagCurrentLinkPath(repository, tag), image.digest);
}

async function storeRevision(
  write: (path: string, content: Buffer | string) => Promise<void>,
  repository: string,
  image: TestImage,
): Promise<void> {
  await write(blobPath(image.digest), image.manifest);
  await write(revisionLinkPath(repository, image.digest), image.digest);
  for (const { digest, bytes } of image.blobs) {
    await write(blobPath(digest), bytes);
    await write(layerLinkPath(repository, digest), digest);
  }
}

/** Loads an image made in code. @returns the engine's id of it */
export function load(image: TestImage, name: string): Promise<string> {
  return loadImage(connectEngine(), {
    manifest: image.manifest,
    blob: (digest) => blobOf(image, digest),
    name,
  });
}

/** In small pieces, so that a reader must put them together. */
export async function* blobOf(image: TestImage, digest: Digest): AsyncGenerator<Uint8Array> {
  const blob = image.blobs.find((one) => one.digest === digest);
  if (blob === undefined) throw new Error(`the image has no ${digest}`);
  for (let at = 0; at < blob.bytes.length; at += 100_000) yield blob.bytes.subarray(at, at + 100_000);
}
