/**
 * Where container runtimes look for the CA of a registry: below each folder there is one for each of the registry's
 * names (referenceNames in address.ts), and in it the file.
 */

/** Docker; where there is no folder of their own, Podman, CRI-O and skopeo too. */
export const dockerFolder = "/etc/docker/certs.d";
/** Podman, CRI-O and skopeo. https://github.com/containers/image/blob/main/docs/containers-certs.d.5.md */
export const containersFolder = "/etc/containers/certs.d";

export const certificateFile = "ca.crt";
