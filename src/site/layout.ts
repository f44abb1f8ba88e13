/**
 * Every path of a site, in one place. With the root /srv/docker-registry:
 *
 *   drydock.json                                   says that the site is drydock's, and what is in effect there
 *                                                  (see marker.ts)
 *   journal.json                                   what the running action does (see journal.ts)
 *   clients.json                                   which clients failed last (see src/trust/last-run.ts)
 *   certs/ca.pem  registry.pem  registry-key.pem   those it is served with, for people and for the next install
 *   certs/ca-key.pem                               only where the site makes its own certificates
 *   storage/                                       mounted at /var/lib/registry; docker/registry/v2/…
 *   storage/.drydock/                              blobs on their way in, under temporary names
 *   releases/.reserve  storage/.drydock/reserve    room on the disk for what is under way (see reserve.ts)
 *   files/                                         what the manifest's `files:` carried: names of releases/files/
 *   adopted/adopted.json                           what was here before drydock took it over (see adopted.ts)
 *   adopted/certs/                                 copies of what certs/ held then
 *   releases/<hex of the bundle's digest>/
 *     release.json                                 the release's record: made last, so it says "complete"
 *     pruned.json                                  its record once a prune has begun to remove the release
 *     certs/                                       of an earlier drydock: copies of certs/, as they were then
 *     bundle.json                                  the bundle index
 *     receipt.json  receipt.txt                    what was installed, when and how it was proven; the latter
 *                                                  is a page to hand over
 *     registry/blobs/sha256/<hex>                  the registry's own image
 *     packages/<hex>                               what installs Docker on a client that lacks it
 *   releases/certs/<hex>/                          certificates that are, were or will be served with, under the
 *                                                  names of certs/; registry.pem and registry-key.pem are mounted
 *                                                  in the container, which never sees a CA's key
 *   releases/files/<hex>                           what the releases show, or showed, in files/, by its digest
 *
 * The paths below storage/docker are those of src/oci/storage.ts.
 */
import { join, resolve } from "node:path";
import { type Digest, hexOf } from "../oci/digest.ts";

/** Where a site is unless somebody says otherwise. */
export const defaultSiteRoot = "/srv/docker-registry";

export interface SiteLayout extends CertificatePaths {
  root: string;
  marker: string;
  journal: string;
  clients: string;
  storage: string;
  /** In the storage's own folder, hence on its file system; the registry doesn't look there. */
  incoming: string;
  files: string;
  /** one for each file system that is written to: see reserve.ts */
  reserves: [string, string];
  adopted: AdoptedLayout;
  releases: string;
  release(bundleDigest: Digest): ReleaseLayout;
  keptCertificates: string;
  /** one set of them; the digest is that of keepCertificates */
  certificateSet(digest: Digest): CertificatePaths;
  keptFiles: string;
  keptFile(digest: Digest): string;
}

export type CertificatePaths = ReturnType<typeof certificatePaths>;

export interface AdoptedLayout extends CertificatePaths {
  folder: string;
  record: string;
}

export interface ReleaseLayout extends CertificatePaths {
  folder: string;
  record: string;
  prunedRecord: string;
  bundleIndex: string;
  receipt: string;
  receiptPage: string;
  /** the folder of the registry image's blobs */
  registryBlobs: string;
  registryBlob(digest: Digest): string;
  /** a file of one of `packages:` */
  packageFile(digest: Digest): string;
}

/** @param root the site's directory; a relative one is taken from the working directory. */
export function siteLayout(root: string): SiteLayout {
  const at = resolve(root);
  const releases = join(at, "releases");
  const [keptCertificates, keptFiles] = [join(releases, "certs"), join(releases, "files")];
  return {
    root: at,
    marker: join(at, "drydock.json"),
    journal: join(at, "journal.json"),
    clients: join(at, "clients.json"),
    ...certificatePaths(join(at, "certs")),
    storage: join(at, "storage"),
    incoming: join(at, "storage", ".drydock"),
    files: join(at, "files"),
    reserves: [join(releases, ".reserve"), join(at, "storage", ".drydock", "reserve")],
    adopted: {
      folder: join(at, "adopted"),
      record: join(at, "adopted", "adopted.json"),
      ...certificatePaths(join(at, "adopted", "certs")),
    },
    releases,
    release: (digest) => releaseLayout(join(releases, hexOf(digest))),
    keptCertificates,
    certificateSet: (digest) => certificatePaths(join(keptCertificates, hexOf(digest))),
    keptFiles,
    keptFile: (digest) => join(keptFiles, hexOf(digest)),
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
