/**
 * The bundle index, `bundle.json`: everything that is inside a bundle. FORMAT.md describes it.
 */
import type { Digest } from "../oci/digest.ts";
import type { BundlePackages } from "./packages.ts";

/**
 * What a blob is for:
 * image        content of the registry's storage (image manifests, configs, layers)
 * registry     a blob of the registry's own image, whether or not a repository needs it too
 * seed         a seed carried packed
 * certificate  a PEM certificate
 * key          the server's private key
 * file         one of `files`
 * package      a file of one of `packages`
 */
export type BlobRole = "image" | "registry" | "seed" | "certificate" | "key" | "file" | "package";

export interface BundleBlob {
  digest: Digest;
  /** in bytes */
  size: number;
  role: BlobRole;
}

/** What a repository at the site holds because of this bundle. Every list is sorted. */
export interface BundleRepository {
  /** tag → digest of the image manifest or image index it names */
  tags: Record<string, Digest>;
  /** every image manifest and image index, also those below an index */
  revisions: Digest[];
  /** every config and layer (what the registry keeps under _layers) */
  layers: Digest[];
}

/** What is not in the bundle though somebody may look for it, and why. */
export interface LeftOut {
  what: string;
  why: string;
}

export interface BundleSeed {
  /** of the seed's file as it was */
  sha256: string;
  size: number;
  /** where it came from: a file's base name, or a URL without user, password and query */
  source: string;
  /** what it adds: repository name → what it holds */
  repositories: Record<string, BundleRepository>;
  /** what it held that is left out, with the reason */
  leftOut: LeftOut[];
  /** Its storage tree was damaged, and leftOut names what was not whole. */
  incomplete?: true;
  /** Present when it is carried packed, as the blob of this digest (its sha256): how to read it. */
  packed?: {
    compression: "none" | "gzip" | "zstd";
    /** the blobs of the storage that are used of it, in the order in which they stand in it */
    blobs: { digest: Digest; size: number }[];
  };
}

export interface BundleCertificates {
  /** bundle: made by `drydock bundle`, the server's key inside. site: made by `drydock install`. */
  from: "bundle" | "site";
  /** with `bundle`: the digests of the CA's and the server's PEM certificates, and of the server's PEM key */
  ca?: Digest;
  server?: Digest;
  key?: Digest;
  /** with `bundle`: whether the key is an encrypted PKCS#8 (RFC 5958) */
  keyEncrypted?: boolean;
  /** with `site`: the certificate requests (cfssl's fields) to make them from */
  request?: { ca: unknown; server: unknown };
}

export interface BundleIndex {
  formatVersion: 1;
  name: string;
  release: number;
  /** RFC 3339, in UTC, whole seconds */
  created: string;
  /** names and IP addresses of the registry at the site; the first is its name */
  addresses: string[];
  registry: {
    /** as the manifest named it, with its registry and tag: docker.io/library/registry:2 */
    reference: string;
    /** platform ("linux/amd64") → the digest of its image manifest */
    images: Record<string, Digest>;
    port: number;
    access: "read-only" | "push";
  };
  /** What a site's storage holds of it afterwards. `inodes` counts files and folders. */
  totals: { blobs: number; bytes: number; inodes: number };
  certificates: BundleCertificates;
  seeds: BundleSeed[];
  /** name: a relative path of safe characters, below the site's files/ */
  files: { name: string; digest: Digest }[];
  /** what installs Docker on a client that lacks it */
  packages: BundlePackages[];
  /** in archive order */
  blobs: BundleBlob[];
  /** repository name at the site → what it holds */
  repositories: Record<string, BundleRepository>;
  /** one for each image asked for, for people: where it came from and where it went; no tag: by digest alone */
  images: { source: string; repository: string; tag?: string; digest: Digest; platforms: string[] }[];
  /** what an upstream lacks or holds that is left out, with the reason; seeds have their own */
  leftOut: LeftOut[];
}
