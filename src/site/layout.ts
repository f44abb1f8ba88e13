/**
 * Every path of a site, in one place. With the root /srv/docker-registry:
 *
 *   drydock.json                                   says that the site is drydock's, and which release is
 *                                                  current (see record.ts)
 *   journal.json                                   what the running action does (see journal.ts)
 *   clients.json                                   which clients failed last (see src/trust/last-run.ts)
 *   certs/ca.pem  registry.pem  registry-key.pem   the last two are mounted in the registry's container
 *   certs/ca-key.pem                               only where the site makes its own certificates; the
 *                                                  container never sees it
 *   storage/                                       mounted at /var/lib/registry; docker/registry/v2/…
 *   storage/.drydock/                              blobs on their way in, under temporary names
 *   files/                                         what the manifest's `files:` carried
 *   adopted/adopted.json                           what was here before drydock took it over (see adopted.ts)
 *   adopted/certs/                                 copies of what certs/ held then
 *   releases/<hex of the bundle's digest>/
 *     release.json                                 the release's record: made last, so it says "complete"
 *     pruned.json                                  its record once a prune has begun to remove the release
 *     certs/                                       copies of the site's certs/, as they were then
 *     bundle.json                                  the bundle index
 *     receipt.json  receipt.txt                    what was installed, when and how it was proven; the latter
 *                                                  is a page to hand over
 *     registry/blobs/sha256/<hex>                  the registry's own image
 *     files/<hex>                                  what goes to files/, until all of the bundle is placed
 *     packages/<hex>                               what installs Docker on a client that lacks it
 *
 * The paths below storage/docker are those of src/oci/storage.ts.
 */
import { join, resolve } from "node:path";
import { type Digest, hexOf } from "../oci/digest.ts";

/** Where a site is unless somebody says otherwise. */
export const defaultSiteRoot = "/srv/docker-registry";

export interface SiteLayout {
  root: string;
  marker: string;
  journal: string;
  clients: string;
  certs: string;
  caCertificate: string;
  serverCertificate: string;
  serverKey: string;
  caKey: string;
  storage: string;
  /** In the storage's own folder, hence on its file system; the registry doesn't look there. */
  incoming: string;
  files: string;
  adopted: AdoptedLayout;
  releases: string;
  release(bundleDigest: Digest): ReleaseLayout;
}

export interface AdoptedLayout extends ReturnType<typeof certificatePaths> {
  folder: string;
  record: string;
}

export interface ReleaseLayout {
  folder: string;
  record: string;
  prunedRecord: string;
  bundleIndex: string;
  receipt: string;
  receiptPage: string;
  /** its copies of the certificates, under the names that they have at the site */
  certs: string;
  caCertificate: string;
  serverCertificate: string;
  serverKey: string;
  caKey: string;
  /** the folder of the registry image's blobs */
  registryBlobs: string;
  registryBlob(digest: Digest): string;
  /** one of `files:` on its way: it has no name of its own before all of the bundle is placed */
  stagedFile(digest: Digest): string;
  /** a file of one of `packages:` */
  packageFile(digest: Digest): string;
}

/** @param root the site's directory; a relative one is taken from the working directory. */
export function siteLayout(root: string): SiteLayout {
  const at = resolve(root);
  return {
    root: at,
    marker: join(at, "drydock.json"),
    journal: join(at, "journal.json"),
    clients: join(at, "clients.json"),
    ...certificatePaths(join(at, "certs")),
    storage: join(at, "storage"),
    incoming: join(at, "storage", ".drydock"),
    files: join(at, "files"),
    adopted: {
      folder: join(at, "adopted"),
      record: join(at, "adopted", "adopted.json"),
      ...certificatePaths(join(at, "adopted", "certs")),
    },
    releases: join(at, "releases"),
    release: (digest) => releaseLayout(join(at, "releases", hexOf(digest))),
  };
}

function releaseLayout(folder: string): ReleaseLayout {
  const registryBlobs = join(folder, "registry", "blobs", "sha256");
  return {
    folder,
    record: join(folder, "release.json"),
    prunedRecord: join(folder, "pruned.json"),
    bundleIndex: join(folder, "bundle.json"),
    receipt: join(folder, "receipt.json"),
    receiptPage: join(folder, "receipt.txt"),
    ...certificatePaths(join(folder, "certs")),
    registryBlobs,
    registryBlob: (digest) => join(registryBlobs, hexOf(digest)),
    stagedFile: (digest) => join(folder, "files", hexOf(digest)),
    packageFile: (digest) => join(folder, "packages", hexOf(digest)),
  };
}

function certificatePaths(certs: string) {
  return {
    certs,
    caCertificate: join(certs, "ca.pem"),
    serverCertificate: join(certs, "registry.pem"),
    serverKey: join(certs, "registry-key.pem"),
    caKey: join(certs, "ca-key.pem"),
  };
}
