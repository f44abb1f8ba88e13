/**
 * The registry's container as it should be, and in what an existing one differs from that. Also who owns
 * an existing one: drydock's carries the label `org.drydock.site` with the site's directory.
 */
import type Dockerode from "dockerode";
import type { ContainerInfo } from "../engine/container.ts";
import type { Digest } from "../oci/digest.ts";
import type { SiteLayout } from "../site/layout.ts";

/** Its name, as the documented procedure has it. */
export const containerName = "registry";
/** The one that served before, until all is complete. */
export const previousName = "registry-previous";
/** The new one, until it serves. */
export const nextName = "registry-next";
/** All that the site's own container may be called. */
export const ownNames = [containerName, previousName, nextName] as const;

/** The one that was there before drydock, where it was taken over: kept, stopped, to be given back. */
export const adoptedName = "registry-adopted";

/** The directory of the site that a container serves: says that it is drydock's. */
export const siteLabel = "org.drydock.site";
export interface RegistrySettings {
  layout: SiteLayout;
  /** on the host, on all its addresses */
  port: number;
  access: "read-only" | "push";
  /** the engine's id of the registry's image */
  imageId: string;
  /** the set that it serves with: of kept-certificates.ts */
  certificates: Digest;
  /** whether what is mounted gets SELinux's label for containers: see selinux.ts */
  relabel: boolean;
}

const innerPort = "443/tcp";

/** Whether drydock made this container for this site. */
export function isOurs(info: ContainerInfo, layout: SiteLayout): boolean {
  return info.Config.Labels?.[siteLabel] === layout.root;
}

/** What the engine is asked to make. */
export function containerOptions(settings: RegistrySettings): Dockerode.ContainerCreateOptions {
  return {
    Image: settings.imageId,
    Env: Object.entries(environment(settings)).map(([name, value]) => `${name}=${value}`),
    Labels: { [siteLabel]: settings.layout.root },
    ExposedPorts: { [innerPort]: {} },
    HostConfig: {
      // Until it is proven, the engine starts the one before when it starts itself.
      RestartPolicy: { Name: "no" },
      // No address: all of IPv4, and of IPv6 where the host has it.
      PortBindings: { [innerPort]: [{ HostIp: "", HostPort: String(settings.port) }] },
      ...(settings.relabel ? { Binds: binds(settings) } : { Mounts: bindMounts(settings) }),
    },
  };
}

/** Unlike -v, these never make a missing folder; but they know no label. */
function bindMounts(settings: RegistrySettings): Dockerode.MountConfig {
  return mounts(settings).map(({ source, target, readOnly }) => ({
    Type: "bind",
    Source: source,
    Target: target,
    ReadOnly: readOnly,
  }));
}

/** As -v has it. `z`: labelled for all containers, so that the next one finds what this one could read. */
function binds(settings: RegistrySettings): string[] {
  return mounts(settings).map(
    ({ source, target, readOnly }) => `${source}:${target}:${readOnly ? "ro,z" : "z"}`,
  );
}

/**
 * The first thing in which a container differs from what it should be, as people say it; undefined if
 * there is none. What drydock doesn't set is not compared, nor the restart policy: that can be changed.
 */
export function difference(info: ContainerInfo, settings: RegistrySettings): string | undefined {
  if (withAlgorithm(info.Image) !== settings.imageId) return "another registry image";
  if (!sameText(registryVariables(info.Config.Env), environment(settings))) return "other settings";
  const mounted = mountsOf(info);
  if (!sameText(mounted, mountsAsText(settings)))
    return isOfASet(mounted, settings.layout) ? "another certificate" : "other mounts";
  if (settings.relabel && !info.HostConfig.Binds?.every((bind) => bind.endsWith("z")))
    return "SELinux labels";
  const bindings = info.HostConfig.PortBindings?.[innerPort] as { HostPort?: string }[] | undefined;
  if (bindings?.length !== 1 || bindings[0]?.HostPort !== String(settings.port)) return "another port";
  return undefined;
}

// No REGISTRY_HTTP_SECRET: it matters where several registries share uploads. A lone one makes its own,
// and no secret stands in the container's settings for everybody who may look.
function environment(settings: RegistrySettings): Record<string, string> {
  const variables: Record<string, string> = {
    REGISTRY_HTTP_ADDR: "0.0.0.0:443",
    REGISTRY_HTTP_TLS_CERTIFICATE: certificateTarget,
    REGISTRY_HTTP_TLS_KEY: "/certs/registry-key.pem",
  };
  if (settings.access === "read-only") {
    // As a whole: registry 2.8 panics at REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true.
    variables.REGISTRY_STORAGE_MAINTENANCE_READONLY = '{"enabled":true}';
  }
  return variables;
}

const certificateTarget = "/certs/registry.pem";

// The two files and not the folder: a CA's key that was made at the site stands beside them.
function mounts({ layout, certificates }: RegistrySettings): {
  source: string;
  target: string;
  readOnly: boolean;
}[] {
  const { serverCertificate, serverKey } = layout.certificateSet(certificates);
  return [
    { source: serverCertificate, target: certificateTarget, readOnly: true },
    { source: serverKey, target: "/certs/registry-key.pem", readOnly: true },
    { source: layout.storage, target: "/var/lib/registry", readOnly: false },
  ];
}

function mountsAsText(settings: RegistrySettings): Record<string, string> {
  return Object.fromEntries(
    mounts(settings).map(({ source, target, readOnly }) => [target, `${source} ${!readOnly}`]),
  );
}

function isOfASet(mounted: Record<string, string>, { keptCertificates }: SiteLayout): boolean {
  return mounted[certificateTarget]?.startsWith(`${keptCertificates}/`) === true;
}

function mountsOf(info: ContainerInfo): Record<string, string> {
  return Object.fromEntries(info.Mounts.map((mount) => [mount.Destination, `${mount.Source} ${mount.RW}`]));
}

/** The registry's settings among a container's variables. */
export function registryVariables(env: string[] | undefined): Record<string, string> {
  const pairs = (env ?? []).map((text): [string, string] => {
    const at = text.indexOf("=");
    return [text.slice(0, at), text.slice(at + 1)];
  });
  return Object.fromEntries(pairs.filter(([name]) => name.startsWith("REGISTRY_")));
}

function sameText(a: Record<string, string>, b: Record<string, string>): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

function withAlgorithm(id: string): string {
  return id.startsWith("sha256:") ? id : `sha256:${id}`;
}
