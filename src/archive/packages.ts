/**
 * Sets of packages that install Docker on a host that lacks it: which hosts a set is for, and what kind of
 * packages it holds. FORMAT.md describes them.
 */
import type { Digest } from "../oci/digest.ts";

/** The hosts that a set is for, as their os-release(5) says it. What is left out may be anything. */
export interface PackageMatch {
  /** ID: "debian" */
  id?: string;
  /** VERSION_ID, or its beginning up to a dot: "9" is 9.4, too */
  version?: string;
  architecture: Architecture;
}

/** As OCI and Docker name them. */
export const architectures = ["amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x"] as const;
export type Architecture = (typeof architectures)[number];

export interface BundlePackages {
  match: PackageMatch;
  /** sorted by name; names are plain ones, without a folder */
  files: { name: string; digest: Digest }[];
}

/** static: Docker's own tarball of executables, docker-VERSION.tgz */
export type PackageKind = "deb" | "rpm" | "static";

/** What an ID or VERSION_ID is made of. */
export const releaseWord = "^[a-z0-9][a-z0-9._-]{0,63}$";

/** A plain name that every shell takes as it is, and that is no option: docker.io_20.10.24+dfsg1-1_amd64.deb */
export const packageName = "^[A-Za-z0-9][A-Za-z0-9._+~^:%-]{0,254}$";

/** What all of these files are together; undefined if they are no set. */
export function packageKind(names: readonly string[]): PackageKind | undefined {
  if (names.length === 0) return undefined;
  if (names.every((name) => name.endsWith(".deb"))) return "deb";
  if (names.every((name) => name.endsWith(".rpm"))) return "rpm";
  const [first = "", ...others] = names;
  return others.length === 0 && /^docker-[0-9][^/]*\.tgz$/.test(first) ? "static" : undefined;
}

/** "debian 12 amd64" */
export function describeMatch({ id, version, architecture }: PackageMatch): string {
  return [id ?? "any Linux", version, architecture].filter((part) => part !== undefined).join(" ");
}
