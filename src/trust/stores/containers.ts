/**
 * The trust store of Podman, Buildah, CRI-O and skopeo. They take the first directory of a name that exists,
 * even if it is empty: the user's own, then this one, then Docker's (containers-certs.d(5)).
 */
import { containersFolder, usersContainersFolder } from "../places.ts";
import { certsDPatterns, holds, inCertsD, outOfCertsD } from "./certs-d.ts";
import { addMirrors, mirrorPatterns, removeMirrors } from "./containers-mirrors.ts";
import type { Seen } from "./seen.ts";
import { joinPlans, type Store, type StoreFinding, type Wanted } from "./store.ts";

const programs = ["podman", "skopeo", "buildah", "crio"] as const;

export const containers: Store = {
  name: "containers",
  isRoots: true,
  programs,
  looksAt: () => [
    ...certsDPatterns(containersFolder),
    ...certsDPatterns(usersContainersFolder),
    ...mirrorPatterns,
  ],
  isThere: (seen) => seen.has(...programs) || seen.at(containersFolder) !== undefined,
  install: (seen, wanted) => {
    const plan = inCertsD(containersFolder, seen, wanted);
    plan.findings.push(...shadows(usersContainersFolder, seen, wanted));
    return joinPlans([plan, addMirrors(seen, wanted)]);
  },
  remove: (seen, wanted) =>
    joinPlans([outOfCertsD(containersFolder, seen, wanted), removeMirrors(seen, wanted)]),
};

/** Directories of `base` that hide the store behind it, and don't hold the CA. */
export function shadows(base: string, seen: Seen, { names, authorities }: Wanted): StoreFinding[] {
  return names
    .map((name) => seen.absolute(`${base}/${name}`))
    .filter((directory) => seen.at(directory) !== undefined && !holds(seen, directory, authorities))
    .map((directory) => ({
      level: "note",
      reason: `Podman and skopeo look into ${directory} alone, which is there and lacks the CA`,
      hint: "Remove it, or put the CA there as well.",
    }));
}
