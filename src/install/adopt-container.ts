/**
 * What a container says that is to be taken over: where its storage and certificates are on this host, how
 * clients reach it, and what of it drydock's registry would not do.
 */
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ContainerInfo } from "../engine/container.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { FlagChanges } from "./command-to-type.ts";
import type { Finding } from "./finding.ts";
import { containerName, registryVariables } from "./registry-container.ts";

export interface LookedAt {
  container: AdoptedContainer;
  /** further ports of the host that lead to it */
  otherPorts: number[];
  /** what stands in the way, or is to be known */
  findings: Finding[];
}

type Command = (changes: FlagChanges) => string;
type Mount = ContainerInfo["Mounts"][number];

/** @param command gives the command to type with other flags */
export async function lookAtContainer(
  info: ContainerInfo,
  layout: SiteLayout,
  command: Command,
): Promise<LookedAt> {
  const variables = registryVariables(info.Config.Env);
  const [port, ...otherPorts] = portsOf(info, variables);
  const hostPath = (inner: string | undefined) => inner && onHost(info.Mounts, inner)?.path;
  const certificate = hostPath(variables.REGISTRY_HTTP_TLS_CERTIFICATE);
  const key = hostPath(variables.REGISTRY_HTTP_TLS_KEY);
  const findings = [
    ...(await checkStorage(info, variables, layout, command)),
    ...checkTls(variables, certificate, key),
    ...checkVariables(variables),
    ...(await checkConfiguration(info)),
  ];
  const { Name = "no", MaximumRetryCount } = info.HostConfig.RestartPolicy ?? {};
  const container: AdoptedContainer = {
    ...{ id: info.Id, image: info.Config.Image },
    running: info.State.Running,
    restartPolicy: { Name: Name || "no", ...(MaximumRetryCount ? { MaximumRetryCount } : {}) },
    ...(port === undefined ? {} : { port }),
    access: takesPushes(info, variables) ? "push" : "read-only",
    ...(certificate ? { certificate } : {}),
    ...(key ? { key } : {}),
    inspected: info,
  };
  return { container, otherPorts, findings };
}

/** A finding of the check "adopt". */
export function adoptFinding(level: Finding["level"], text: string, hint?: string): Finding {
  return { check: "adopt", level, text, ...(hint === undefined ? {} : { hint }) };
}

/** The host's ports that lead to the one that the registry listens on: 5000 where it isn't told another. */
function portsOf(info: ContainerInfo, variables: Record<string, string>): number[] {
  const inner = Number(/:(\d+)$/.exec(variables.REGISTRY_HTTP_ADDR ?? "")?.[1] ?? 5000);
  if (info.HostConfig.NetworkMode === "host") return [inner];
  const bindings = info.HostConfig.PortBindings?.[`${inner}/tcp`] as { HostPort?: string }[] | undefined;
  const ports = (bindings ?? []).map(({ HostPort }) => Number(HostPort)).filter((port) => port > 0);
  return [...new Set(ports)];
}

const readOnly = "REGISTRY_STORAGE_MAINTENANCE_READONLY";

function takesPushes(info: ContainerInfo, variables: Record<string, string>): boolean {
  const said = `${variables[readOnly] ?? ""} ${variables[`${readOnly}_ENABLED`] ?? ""}`;
  const storage = onHost(info.Mounts, storageFolder(variables))?.mount;
  return !/\btrue\b/.test(said) && storage?.RW !== false;
}

function storageFolder(variables: Record<string, string>): string {
  return variables.REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY ?? "/var/lib/registry";
}

/** A path inside as one of the host; undefined if no mount leads there, so that it is in the image. */
function onHost(mounts: Mount[], inner: string): { mount: Mount; path: string } | undefined {
  const leads = mounts.filter(({ Destination: at }) => inner === at || inner.startsWith(`${at}/`));
  const [mount] = leads.sort((a, b) => b.Destination.length - a.Destination.length);
  return mount && { mount, path: join(mount.Source, inner.slice(mount.Destination.length)) };
}

async function checkStorage(
  info: ContainerInfo,
  variables: Record<string, string>,
  { root, storage }: SiteLayout,
  command: Command,
): Promise<Finding[]> {
  const inside = storageFolder(variables);
  const found = onHost(info.Mounts, inside);
  const driver = variables.REGISTRY_STORAGE;
  const cloud = Object.keys(variables).find((name) =>
    /^REGISTRY_STORAGE_(S3|AZURE|GCS|OSS|SWIFT)/.test(name),
  );
  if (cloud !== undefined || (driver !== undefined && driver !== "filesystem")) {
    const text = `container "${containerName}" keeps its content elsewhere than in a directory (${cloud ?? driver})`;
    return [adoptFinding("error", text, notThisOne)];
  }
  if (found === undefined) {
    const text = `container "${containerName}" (image ${info.Config.Image}) is no registry whose content is on this host: nothing is mounted at ${inside}`;
    return [adoptFinding("error", text, notThisOne)];
  }
  const { mount, path } = found;
  const again = `make it again as before but with -v ${storage}:${inside}, then run the same command.`;
  if (mount.Type !== "bind") {
    const text = `its storage is the volume ${mount.Name ?? path}, and drydock's is a directory`;
    const copy = `\`docker stop ${containerName} && mkdir -p ${storage} && cp -a ${path}/. ${storage}/\``;
    return [adoptFinding("error", text, `Copy it: ${copy}; remove the container, and ${again}`)];
  }
  if ((await real(path)) === (await real(storage))) return [];
  const text = `its storage is ${path}, and the site's would be ${storage}`;
  if (basename(path) === "storage") {
    return [
      adoptFinding(
        "error",
        text,
        `That is the site ${dirname(path)}: \`${command({ site: dirname(path) })}\``,
      ),
    ];
  }
  const move = `\`docker stop ${containerName} && mkdir -p ${root} && mv ${path} ${storage}\``;
  return [
    adoptFinding(
      "error",
      text,
      `Move it to a directory called storage: ${move}; remove the container, and ${again}`,
    ),
  ];
}

const notThisOne = `It is left alone. Rename it (docker rename ${containerName} …), and install without --adopt.`;

async function real(path: string): Promise<string> {
  return await realpath(path).catch(() => path);
}

/** Where they lead to no file of the host. That there is no TLS at all is told with the certificates. */
function checkTls(
  { REGISTRY_HTTP_TLS_CERTIFICATE: certificate, REGISTRY_HTTP_TLS_KEY: key }: Record<string, string>,
  certificatePath: string | undefined,
  keyPath: string | undefined,
): Finding[] {
  const lost = [...(certificate && !certificatePath ? [certificate] : []), ...(key && !keyPath ? [key] : [])];
  if (lost.length === 0) return [];
  const text = `${lost.join(" and ")} of container "${containerName}" ${lost.length === 1 ? "is" : "are"} in no directory of this host`;
  const hint = `Copy them out (docker cp ${containerName}:${lost[0]} …), make it again with -v DIR:${dirname(lost[0] ?? "")}, then run the same command.`;
  return [adoptFinding("error", text, hint)];
}

/** What is taken over by other means, or makes no difference to clients. */
const known =
  /^REGISTRY_(HTTP_(ADDR|SECRET|HOST|TLS_CERTIFICATE|TLS_KEY|TLS_MINIMUMTLS)|LOG_.*|STORAGE|STORAGE_FILESYSTEM_.*|STORAGE_MAINTENANCE_READONLY(_ENABLED)?|STORAGE_(S3|AZURE|GCS|OSS|SWIFT).*)$/;
/** Where these are set, it lets in only some, or serves what is not its own. */
const guarded = /^REGISTRY_(AUTH|HTTP_TLS_CLIENTCAS|PROXY)/;

/** Values are not shown: there may be secrets among them. */
function checkVariables(variables: Record<string, string>): Finding[] {
  const names = Object.keys(variables);
  const guards = names.filter((name) => guarded.test(name));
  const others = names.filter((name) => !known.test(name) && !guarded.test(name));
  const findings: Finding[] = [];
  if (guards.length > 0) {
    const text = `it was made with ${guards.join(", ")}, and drydock's registry asks nobody for a password or certificate and is no proxy`;
    findings.push(adoptFinding("error", text, openToAll));
  }
  if (others.length > 0) {
    const text = `drydock's registry does not have its setting${others.length === 1 ? "" : "s"} ${others.join(", ")}`;
    findings.push(adoptFinding("warning", text, "If clients rely on that, they will notice."));
  }
  return findings;
}

const openToAll = `If everybody may read it, make it again without that (docker rm, then docker run as before), then run the same command.`;

/** A configuration file of its own may say anything; the image's own says nothing that matters here. */
async function checkConfiguration(info: ContainerInfo): Promise<Finding[]> {
  const inside = (info.Args ?? []).find((one) => /\.ya?ml$/.test(one)) ?? "/etc/docker/registry/config.yml";
  const path = onHost(info.Mounts, inside)?.path;
  if (path === undefined) return [];
  const text = await readFile(path, "utf8").catch(() => "");
  if (/^(auth|proxy):/m.test(text)) {
    const what = `its configuration file ${path} has "auth" or "proxy", and drydock's registry has neither`;
    return [adoptFinding("error", what, openToAll)];
  }
  const what = `its configuration file ${path} is not taken over`;
  return [adoptFinding("warning", what, "If it says anything that clients rely on, they will notice.")];
}
