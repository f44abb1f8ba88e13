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
/** The one it replaces, until the new one serves. */
export const previousName = "registry-previous";
/** The new one, until the old one has made room. */
export const nextName = "registry-next";

/** The one that was there before drydock, where it was taken over: kept, stopped, to be given back. */
export const adoptedName = "registry-adopted";

/** The directory of the site that a container serves: says that it is drydock's. */
export const siteLabel = "org.drydock.site";
/** The digest of its registry.pem: a registry reads its certificate once, when it starts. */
export const certificateLabel = "org.drydock.certificate";

export interface RegistrySettings {
  layout: SiteLayout;
  /** on the host, on all its addresses */
  port: number;
  access: "read-only" | "push";
  /** the engine's id of the registry's image */
  imageId: string;
  /** of the site's registry.pem */
  certificate: Digest;
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
    Labels: labels(settings),
    ExposedPorts: { [innerPort]: {} },
    HostConfig: {
      RestartPolicy: { Name: "always" },
      // No address: all of IPv4, and of IPv6 where the host has it.
      PortBindings: { [innerPort]: [{ HostIp: "", HostPort: String(settings.port) }] },
      ...(settings.relabel ? { Binds: binds(settings.layout) } : { Mounts: bindMounts(settings.layout) }),
    },
  };
}

/** Unlike -v, these never make a missing folder; but they know no label. */
function bindMounts(layout: SiteLayout): Dockerode.MountConfig {
  return mounts(layout).map(({ source, target, readOnly }) => ({
    Type: "bind",
    Source: source,
    Target: target,
    ReadOnly: readOnly,
  }));
}

/** As -v has it. `z`: labelled for all containers, so that the next one finds what this one could read. */
function binds(layout: SiteLayout): string[] {
  return mounts(layout).map(
    ({ source, target, readOnly }) => `${source}:${target}:${readOnly ? "ro,z" : "z"}`,
  );
}

/**
 * The first thing in which a container differs from what it should be, as people say it; undefined if
 * there is none. What drydock doesn't set is not compared.
 */
export function difference(info: ContainerInfo, settings: RegistrySettings): string | undefined {
  if (withAlgorithm(info.Image) !== settings.imageId) return "another registry image";
  if (info.Config.Labels?.[certificateLabel] !== settings.certificate) return "another certificate";
  if (!sameText(registryVariables(info.Config.Env), environment(settings))) return "other settings";
  if (!sameText(mountsOf(info), mountsAsText(settings.layout))) return "other mounts";
  if (settings.relabel && !info.HostConfig.Binds?.every((bind) => bind.endsWith("z")))
    return "SELinux labels";
  const bindings = info.HostConfig.PortBindings?.[innerPort] as { HostPort?: string }[] | undefined;
  if (bindings?.length !== 1 || bindings[0]?.HostPort !== String(settings.port)) return "another port";
  if (info.HostConfig.RestartPolicy?.Name !== "always") return "another restart policy";
  return undefined;
}

// No REGISTRY_HTTP_SECRET: it matters where several registries share uploads. A lone one makes its own,
// and no secret stands in the container's settings for everybody who may look.
function environment(settings: RegistrySettings): Record<string, string> {
  const variables: Record<string, string> = {
    REGISTRY_HTTP_ADDR: "0.0.0.0:443",
    REGISTRY_HTTP_TLS_CERTIFICATE: "/certs/registry.pem",
    REGISTRY_HTTP_TLS_KEY: "/certs/registry-key.pem",
  };
  if (settings.access === "read-only") {
    // As a whole: registry 2.8 panics at REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true.
    variables.REGISTRY_STORAGE_MAINTENANCE_READONLY = '{"enabled":true}';
  }
  return variables;
}

function labels(settings: RegistrySettings): Record<string, string> {
  return { [siteLabel]: settings.layout.root, [certificateLabel]: settings.certificate };
}

// The two files and not the folder: a CA's key that was made at the site stands beside them.
function mounts(layout: SiteLayout): { source: string; target: string; readOnly: boolean }[] {
  return [
    { source: layout.serverCertificate, target: "/certs/registry.pem", readOnly: true },
    { source: layout.serverKey, target: "/certs/registry-key.pem", readOnly: true },
    { source: layout.storage, target: "/var/lib/registry", readOnly: false },
  ];
}

function mountsAsText(layout: SiteLayout): Record<string, string> {
  return Object.fromEntries(
    mounts(layout).map(({ source, target, readOnly }) => [target, `${source} ${!readOnly}`]),
  );
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
