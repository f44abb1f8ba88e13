/** Docker's own trust store, of the engine that runs as root, and of a rootless one. */
import { containersFolder, dockerFolder, rootlessDockerFolder } from "../places.ts";
import { certsDPatterns, inCertsD, outOfCertsD } from "./certs-d.ts";
import { shadows } from "./containers.ts";
import type { Seen } from "./seen.ts";
import type { Store, StoreFinding, Wanted } from "./store.ts";

export const docker: Store = {
  name: "docker",
  isRoots: true,
  programs: ["docker", "dockerd"],
  looksAt: () => [
    ...certsDPatterns(dockerFolder),
    `${dockerFolder}/*/hosts.toml`,
    ...certsDPatterns(containersFolder),
    "/run/docker.sock",
  ],
  isThere: (seen) =>
    ["/etc/docker", "/run/docker.sock"].some((path) => seen.at(path) !== undefined) ||
    (seen.has("docker", "dockerd") && !hasRootless(seen)),
  install: (seen, wanted) => {
    const plan = inCertsD(dockerFolder, seen, wanted);
    plan.findings.push(...hostsFiles(seen, wanted));
    // Where the store "containers" is worked on as well, such a directory gets the CA.
    if (!wanted.stores.includes("containers")) plan.findings.push(...shadows(containersFolder, seen, wanted));
    return plan;
  },
  remove: (seen, wanted) => outOfCertsD(dockerFolder, seen, wanted),
};

/** https://docs.docker.com/engine/security/rootless/ */
export const rootlessDocker: Store = {
  name: "docker",
  isRoots: false,
  programs: [],
  looksAt: () => [
    ...certsDPatterns(rootlessDockerFolder),
    "~/.config/systemd/user/docker.service",
    "/run/user/*/docker.sock",
  ],
  isThere: hasRootless,
  install: (seen, wanted) => inCertsD(rootlessDockerFolder, seen, wanted),
  remove: (seen, wanted) => outOfCertsD(rootlessDockerFolder, seen, wanted),
};

function hasRootless(seen: Seen): boolean {
  if (seen.uid === 0) return false;
  const signs = ["~/.config/systemd/user/docker.service", `/run/user/${seen.uid}/docker.sock`];
  return signs.some((path) => seen.at(path) !== undefined);
}

/** Docker with containerd's image store reads a hosts.toml, and then no *.crt beside it. */
function hostsFiles(seen: Seen, { names }: Wanted): StoreFinding[] {
  return names.flatMap((name) => {
    const path = `${dockerFolder}/${name}/hosts.toml`;
    const file = seen.at(path);
    if (file === undefined || file.text?.includes(`${dockerFolder}/${name}/`)) return [];
    return {
      level: "note",
      reason: `${path} is there, and Docker with containerd's image store then reads no *.crt beside it`,
      hint: `Name the CA in it, at the top and under each [host…]: ca = "${dockerFolder}/${name}/ca.crt"`,
    };
  });
}
