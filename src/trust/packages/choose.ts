/** Which of the site's sets of packages is for a host. */
import type { PackageMatch } from "../../archive/packages.ts";
import type { SitePackages } from "../../site/packages.ts";
import type { Host } from "./host.ts";

/**
 * The first of: its distribution and version; its distribution, any version; a distribution that it is like, and
 * the version; any distribution. So a set for rhel 9 is also Rocky's and Alma's 9.4. A distribution's likeness
 * counts with a version alone: what is like Debian counts versions of its own.
 */
export function choosePackages(host: Host, sets: readonly SitePackages[]): SitePackages | undefined {
  const fits = sets.filter(({ kind, match }) => host.architectures[kind] === match.architecture);
  const ways: ((match: PackageMatch) => boolean)[] = [
    ({ id, version }) => id === host.id && version !== undefined && hasVersion(host, version),
    ({ id, version }) => id === host.id && version === undefined,
    ...host.like.map(
      (like) =>
        ({ id, version }: PackageMatch) =>
          id === like && version !== undefined && hasVersion(host, version),
    ),
    ({ id }) => id === undefined,
  ];
  for (const way of ways) {
    const found = fits.find(({ match }) => way(match));
    if (found !== undefined) return found;
  }
  return undefined;
}

function hasVersion(host: Host, version: string): boolean {
  return host.version === version || host.version.startsWith(`${version}.`);
}
