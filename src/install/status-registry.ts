/**
 * What `status` says of the running registry: the engine, the container as it should be, and whether it
 * answers over TLS under each name and address. Where the engine is not to be asked, the rest is.
 */
import { readFile } from "node:fs/promises";
import { type ContainerInfo, inspectContainer } from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import { imageId } from "../engine/load.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { digestOf, shortDigest } from "../oci/digest.ts";
import { parseImageManifest } from "../oci/image-manifest.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import type { SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { type Finding, findingOf } from "./finding.ts";
import { describeEngine } from "./preflight-engine.ts";
import { checkContainer, checkPort } from "./preflight-host.ts";
import { tryWays, waysIn } from "./prove.ts";
import { containerName, difference, isOurs } from "./registry-container.ts";
import { isEnforcing } from "./selinux.ts";
import { registryImageName } from "./serve.ts";
import { withoutHint } from "./status-action.ts";

export interface EngineStatus {
  /** as DOCKER_HOST would say it */
  address: string;
  answers: boolean;
  version?: string;
  platform?: string;
}

export interface ContainerStatus {
  name: string;
  state: "running" | "paused" | "restarting" | "stopped" | "missing" | "not ours" | "unknown";
  /** RFC 3339, in UTC: since when it runs */
  since?: string;
}

export interface RegistryStatus {
  engine: EngineStatus;
  container: ContainerStatus;
  findings: Finding[];
}

/** A registry that is being started is given so long. */
const patienceSeconds = 2;
/** One that takes the connection and says nothing, a port that is somebody else's say, is not waited for long. */
const timeoutSeconds = 3;

export async function registryStatus(
  engine: Engine,
  layout: SiteLayout,
  current: ReleaseRecord,
): Promise<RegistryStatus> {
  const answers = await answering(layout, current);
  const described = await describeEngine(engine);
  const name = containerName;
  if (!("platform" in described)) {
    const denied = /EACCES|EPERM/.test(described.text);
    // Without the right to ask it nothing is known to be wrong with it.
    const finding: Finding = denied ? { ...described, level: "warning" } : described;
    return {
      engine: { address: engine.address, answers: false },
      container: { name, state: "unknown" },
      // The engine is not to be asked what the registry says.
      findings: [finding, ...answers.map(withoutHint)],
    };
  }
  const { version, platform } = described;
  const looked = await lookAtContainer(engine, layout, current);
  const serves = answers.every(({ level }) => level === "ok");
  // What is wrong with the container says why it doesn't answer; who has its port may be the cause of both, and goes first.
  const others = looked.container.state === "running" ? answers : [];
  const port = serves ? [] : await portTaken(engine, layout, current.settings.port);
  return {
    engine: { address: engine.address, answers: true, version, platform },
    container: looked.container,
    findings: [
      { check: "engine", level: "ok", text: `version ${version}, ${platform}` },
      ...port,
      ...looked.findings,
      ...others,
    ],
  };
}

async function lookAtContainer(
  engine: Engine,
  layout: SiteLayout,
  current: ReleaseRecord,
): Promise<{ container: ContainerStatus; findings: Finding[] }> {
  const name = containerName;
  const foreign = await checkContainer(engine, layout);
  const info = await inspectContainer(engine, name);
  if (info === undefined) {
    const text = `there is no container "${name}"`;
    return { container: { name, state: "missing" }, findings: [...foreign, wrong(text, madeAgain(current))] };
  }
  if (!isOurs(info, layout)) return { container: { name, state: "not ours" }, findings: foreign };
  const container = { name, ...stateOf(info) };
  const differing = await differenceOf(engine, layout, current, info);
  const findings = [...foreign, ...notRunning(info, container.state), ...differing];
  if (findings.length === 0) findings.push({ check: "container", level: "ok", text: `"${name}" runs` });
  return { container, findings };
}

function stateOf({ State }: ContainerInfo): Pick<ContainerStatus, "state" | "since"> {
  if (State.Restarting) return { state: "restarting" };
  if (State.Paused) return { state: "paused" };
  return State.Running ? { state: "running", since: State.StartedAt } : { state: "stopped" };
}

function notRunning({ State }: ContainerInfo, state: ContainerStatus["state"]): Finding[] {
  if (state === "stopped") {
    const said = State.Error ? `: ${State.Error}` : `, with exit code ${State.ExitCode}`;
    const text = `container "${containerName}" is stopped${said}`;
    return [wrong(text, `\`docker start ${containerName}\``)];
  }
  if (state === "paused")
    return [wrong(`container "${containerName}" is paused`, `\`docker unpause ${containerName}\``)];
  if (state === "restarting") {
    const text = `container "${containerName}" ends again and again, with exit code ${State.ExitCode}`;
    return [wrong(text, `\`docker logs --tail 20 ${containerName}\` shows why.`)];
  }
  return [];
}

function wrong(text: string, hint: string): Finding {
  return { check: "container", level: "error", text, hint };
}

/** All that it takes is at the site: the bundle need not be at hand. */
function madeAgain({ bundleDigest }: ReleaseRecord): string {
  return `\`drydock rollback ${shortDigest(bundleDigest)}\` makes it again, out of what is here; nothing else changes.`;
}

/** Where somebody has put another certificate into certs/: an install takes that for the site's. */
function anotherCertificate({ name, release, bundleDigest }: ReleaseRecord): string {
  return (
    `To serve with that in certs/: \`drydock install BUNDLE\`, with the bundle of ${name}, release ${release}. ` +
    `To put back the one it is served with: \`drydock rollback ${shortDigest(bundleDigest)}\``
  );
}

/**
 * As an install of the release would find it. Nothing also where that is not to be known: certificate or image
 * are gone, or an earlier drydock has put it up.
 */
async function differenceOf(
  engine: Engine,
  layout: SiteLayout,
  current: ReleaseRecord,
  info: ContainerInfo,
): Promise<Finding[]> {
  const differs = (what: string, hint: string) => [
    wrong(`container "${containerName}" is not as the release has it: ${what}`, hint),
  ];
  const { certificates } = await readMarker(layout);
  const image = await engineImage(engine, layout, current);
  if (certificates === undefined || image === undefined) return [];
  const [shown, served] = await Promise.all(
    [layout, layout.certificateSet(certificates)].map((at) => readBytesIfThere(at.serverCertificate)),
  );
  if (shown === undefined) return [];
  if (served?.equals(shown) !== true) return differs("another certificate", anotherCertificate(current));
  const { port, access } = current.settings;
  const settings = { layout, port, access, imageId: image, certificates, relabel: await isEnforcing() };
  const what = difference(info, settings);
  if (what === undefined && info.HostConfig.RestartPolicy?.Name === "always") return [];
  return differs(what ?? "another restart policy", madeAgain(current));
}

/** The engine's id of the release's registry image, by its config's digest or by its name, as loadImage has it. */
async function engineImage(
  engine: Engine,
  layout: SiteLayout,
  { bundleDigest, registryImage }: ReleaseRecord,
): Promise<string | undefined> {
  const bytes = await readBytesIfThere(layout.release(bundleDigest).registryBlob(registryImage));
  const config = bytes && digestOf(bytes) === registryImage ? configOf(bytes) : undefined;
  const byConfig = config === undefined ? undefined : await imageId(engine, config);
  return byConfig ?? (await imageId(engine, registryImageName(registryImage)));
}

function configOf(manifest: Buffer): string | undefined {
  return parseImageManifest(manifest, undefined, "of the registry's own image").config?.digest;
}

/** Of preflight's check only what stands in the way: where the registry doesn't run, a free port is no news. */
async function portTaken(engine: Engine, layout: SiteLayout, port: number): Promise<Finding[]> {
  const command = (other: number) => `drydock install BUNDLE --port ${other}`;
  const found = await checkPort(engine, layout, port, command);
  return found.filter(({ level }) => level !== "ok");
}

async function answering(layout: SiteLayout, { settings }: ReleaseRecord): Promise<Finding[]> {
  const { addresses, port } = settings;
  // Its absence is told where the certificates are checked.
  const ca = await readFile(layout.caCertificate).catch(() => undefined);
  if (ca === undefined) return [];
  const tried = await tryWays({ ca, port, timeoutSeconds }, waysIn(addresses), patienceSeconds);
  const failed = tried.filter(({ error }) => error !== undefined);
  if (failed.length === 0) {
    return [{ check: "registry", level: "ok", text: `it answers over TLS as ${addresses.join(", ")}` }];
  }
  // An end and a clock before the beginning are told where the certificates are checked.
  const news = failed.filter(
    ({ error }) => !/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(errorCode(error) ?? ""),
  );
  const reasons = Map.groupBy(news, ({ error }) => errorText(error));
  return [...reasons].map(([reason, ways]): Finding => {
    const as =
      ways.length === tried.length ? "" : ` as ${[...new Set(ways.map((way) => way.as))].join(", ")}`;
    return {
      check: "registry",
      level: "error",
      text: `it does not answer over TLS on port ${port}${as}: ${reason}`,
      hint: `\`docker logs --tail 20 ${containerName}\` shows what it says itself.`,
    };
  });
}

/** An engine that fails in the middle is a finding, too. */
export function engineFinding(error: unknown): Finding {
  if (error instanceof DrydockError) return findingOf(error, "engine");
  throw error;
}
