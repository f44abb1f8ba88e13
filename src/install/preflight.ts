/**
 * The step "preflight": whether the install can succeed, found out before the first write. Every check
 * gives its findings and none stops the others, so that one visit to the site is enough.
 */
import { isIP } from "node:net";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Engine, EngineDescription } from "../engine/engine.ts";
import { DrydockError, errorText } from "../errors.ts";
import type { SiteLayout } from "../site/layout.ts";
import { configFolder, type ServeSettings } from "../site/record.ts";
import { checkContainer, checkPort } from "./preflight-host.ts";
import { checkDirectory, checkSpace, checkWritable, type SpaceNeeded } from "./preflight-site.ts";
import { hostAddresses } from "./prove.ts";

export type { SpaceNeeded } from "./preflight-site.ts";

export interface Finding {
  /** a word or two: "engine", "port", "space" */
  check: string;
  level: "ok" | "warning" | "error";
  text: string;
  /** what to do, a whole sentence */
  hint?: string;
}

export interface PreflightInput {
  index: Pick<BundleIndex, "registry">;
  layout: SiteLayout;
  engine: Engine;
  settings: ServeSettings;
  /** what is still to be written, by where it goes; paths need not exist yet */
  needed: SpaceNeeded[];
  /** what is wrong with the certificates that will be used: dates against the clock, names, addresses */
  certificateFindings: Finding[];
  /** of the host's own record; /etc/drydock if left out */
  configFolder?: string;
}

/** All findings, also those that are well. Writes nothing. */
export async function preflight(input: PreflightInput): Promise<Finding[]> {
  const described = await describeEngine(input.engine);
  const engine = "platform" in described ? input.engine : undefined;
  const folders = [input.layout.root, input.configFolder ?? configFolder()];
  const checks: (Finding[] | Promise<Finding[]>)[] = [
    "platform" in described ? checkEngine(input, described) : [described],
    engine === undefined ? [] : checkContainer(engine, input.layout),
    checkPort(engine, input.layout, input.settings.port),
    checkDirectory(input.layout),
    checkWritable([...folders, input.layout.certs, input.layout.storage, input.layout.releases]),
    checkSpace(input.needed),
    checkAddresses(input.settings.addresses),
    input.certificateFindings,
  ];
  const found = await Promise.all(checks.map(async (check) => await withoutThrowing(check)));
  return found.flat();
}

/** @throws DrydockError "preflight" that lists every error with its hint, if there is one. */
export function failOnErrors(findings: Finding[]): void {
  const errors = findings.filter(({ level }) => level === "error");
  if (errors.length === 0) return;
  const [first] = errors;
  if (errors.length === 1 && first !== undefined) {
    throw new DrydockError("preflight", `${first.check}: ${first.text}`, { hint: first.hint });
  }
  const lines = errors.map(({ check, text, hint }) => {
    return `  ${check}: ${text}${hint === undefined ? "" : `\n    ${hint}`}`;
  });
  throw new DrydockError("preflight", `${errors.length} things stand in the way:\n${lines.join("\n")}`);
}

/**
 * The platform of `images` (see BundleIndex.registry) that an engine runs, or undefined. An image index
 * may name ARM's usual variant ("linux/arm64/v8") where the engine says only "linux/arm64".
 */
export function registryPlatform(images: Record<string, unknown>, platform: string): string | undefined {
  if (platform in images) return platform;
  return Object.keys(images).find((one) => one === `${platform}/v8`);
}

/** A check may fail in an expected way; that is a finding too, and a bug stays one. */
async function withoutThrowing(check: Finding[] | Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await check;
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    return [finding(error)];
  }
}

function finding(error: DrydockError, check = "host"): Finding {
  return { check, level: "error", text: errorText(error), ...(error.hint ? { hint: error.hint } : {}) };
}

async function describeEngine(engine: Engine): Promise<EngineDescription | Finding> {
  try {
    return await engine.describe();
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    const found = finding(error, "engine");
    return { ...found, text: found.text.replace(/^engine /, "") };
  }
}

function checkEngine({ index, engine }: PreflightInput, described: EngineDescription): Finding[] {
  const { version, platform } = described;
  const findings: Finding[] = [];
  const { images, reference } = index.registry;
  if (registryPlatform(images, platform) === undefined) {
    const has = Object.keys(images).join(", ");
    findings.push({
      check: "engine",
      level: "error",
      text: `it runs ${platform}, and the bundle has ${reference} for ${has} alone`,
      hint: `Build the bundle with ${platform} among its platforms.`,
    });
  } else {
    findings.push({ check: "engine", level: "ok", text: `version ${version}, ${platform}` });
  }
  if (!engine.local) {
    findings.push({
      check: "engine",
      level: "warning",
      text: `it is reached by network (${engine.address})`,
      hint: "It must run on this host: it mounts the site's directory.",
    });
  }
  return findings;
}

function checkAddresses(addresses: string[]): Finding[] {
  const here = hostAddresses();
  const strange = addresses.filter((address) => isIP(address) !== 0 && !here.includes(address));
  if (strange.length === 0) return [];
  return [
    {
      check: "addresses",
      level: "warning",
      text: `${strange.join(", ")} ${strange.length === 1 ? "is" : "are"} on no interface of this host (${here.join(", ")})`,
      hint: "That is well if the address is translated on the way here; else clients won't find the registry.",
    },
  ];
}
