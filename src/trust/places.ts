/**
 * Where container runtimes look for the CA of a registry: below each folder there is one for each of the registry's
 * names (referenceNames in address.ts), and in it the file.
 */

/** Docker; where there is no folder of their own, Podman, CRI-O and skopeo too. */
export const dockerFolder = "/etc/docker/certs.d";
/** Podman, CRI-O and skopeo. https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md */
export const containersFolder = "/etc/containers/certs.d";
/** containerd, where its config_path says so; nerdctl always. https://github.com/containerd/containerd/blob/main/docs/hosts.md */
export const containerdFolder = "/etc/containerd/certs.d";
/** The user's own: rootless Docker's. */
export const rootlessDockerFolder = "~/.config/docker/certs.d";
/** The user's own: Podman, Buildah and skopeo look here first. */
export const usersContainersFolder = "~/.config/containers/certs.d";
/** Docker Desktop, below the user's home. https://docs.docker.com/desktop/ */
export const desktopFolder = ".docker/certs.d";
/** Docker's engine as a service of Windows, below %ProgramData%. */
export const windowsEngineFolder = "docker/certs.d";

export const certificateFile = "ca.crt";
/** The second name is for where the first is somebody else's file. */
export const certificateFiles = [certificateFile, "drydock-ca.crt"] as const;

/** Windows allows a colon in no folder's name; Docker leaves it out there (its registry/config_windows.go). */
export function windowsDirectory(name: string): string {
  return name.replaceAll(":", "");
}
