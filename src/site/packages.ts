/** The packages that the site's releases brought to install Docker on clients. */
import { packageBlobs } from "../archive/contents.ts";
import { type PackageKind, type PackageMatch, packageKind } from "../archive/packages.ts";
import { parseBundleIndex } from "../archive/schema.ts";
import type { Digest } from "../oci/digest.ts";
import { readBytesIfThere } from "./json-file.ts";
import { currentRelease, findSite, listReleases } from "./record.ts";

export interface SitePackages {
  match: PackageMatch;
  kind: PackageKind;
  files: SitePackage[];
}

export interface SitePackage {
  /** a plain one, without a folder */
  name: string;
  digest: Digest;
  /** in bytes */
  size: number;
  /** where it stands, absolute */
  path: string;
}

/**
 * Those of the current release first, then of the others from the last one back: a bundle that brings none
 * doesn't take away what an earlier one has brought.
 * @param site the site's directory, if given @throws DrydockError "host", "integrity" if a record can't be read
 */
export async function readPackages(site?: string): Promise<SitePackages[]> {
  const layout = await findSite(site);
  const current = await currentRelease(layout);
  const others = (await listReleases(layout)).filter(
    ({ bundleDigest, rolledBackAt }) => bundleDigest !== current?.bundleDigest && rolledBackAt === undefined,
  );
  const sets: SitePackages[] = [];
  for (const { bundleDigest } of [...(current ? [current] : []), ...others.reverse()]) {
    const release = layout.release(bundleDigest);
    const bytes = await readBytesIfThere(release.bundleIndex);
    if (bytes === undefined) continue;
    const index = parseBundleIndex(bytes);
    const sizes = packageBlobs(index);
    for (const { match, files } of index.packages) {
      const kind = packageKind(files.map(({ name }) => name));
      if (kind === undefined) continue;
      const placed = files.map(({ name, digest }) => ({
        ...{ name, digest, size: sizes.get(digest) ?? 0, path: release.packageFile(digest) },
      }));
      sets.push({ match, kind, files: placed });
    }
  }
  return sets;
}
