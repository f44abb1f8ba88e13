/** Preflight's checks of the engine: whether it answers, what it runs, and its own space for the registry's image. */
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Engine, EngineDescription } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { type Finding, findingOf } from "./finding.ts";
import { registryPlatform } from "./registry-platform.ts";
import type { SpaceNeeded } from "./space.ts";

export async function describeEngine(engine: Engine): Promise<EngineDescription | Finding> {
  try {
    return await engine.describe();
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    const found = findingOf(error, "engine");
    return { ...found, text: found.text.replace(/^engine /, "") };
  }
}

/** Docker 19.03, of 2019: the oldest that is known to do all that is asked of it. */
const oldestApi = [1, 40] as const;

/** @param command gives the command with another port */
export async function checkEngine(
  index: Pick<BundleIndex, "registry">,
  engine: Engine,
  described: EngineDescription,
  { site, port }: { site: string; port: number },
  command: (port: number) => string,
): Promise<Finding[]> {
  return [
    checkPlatform(index.registry, described),
    ...checkVersion(described),
    ...(await checkRootless(described, port, command)),
    ...checkLocal(engine),
    ...checkSnap(described, site),
  ];
}

function checkPlatform(
  { images, reference }: BundleIndex["registry"],
  { version, platform }: EngineDescription,
): Finding {
  if (registryPlatform(images, platform) !== undefined) {
    return { check: "engine", level: "ok", text: `version ${version}, ${platform}` };
  }
  const has = Object.keys(images).join(", ");
  return {
    check: "engine",
    level: "error",
    text: `it runs ${platform}, and the bundle has ${reference} for ${has} alone`,
    hint: `Build the bundle with ${platform} among its platforms.`,
  };
}

function checkVersion({ version, apiVersion }: EngineDescription): Finding[] {
  const [major = 0, minor = 0] = apiVersion.split(".").map(Number);
  if (major > oldestApi[0] || (major === oldestApi[0] && minor >= oldestApi[1])) return [];
  return [
    {
      check: "engine",
      level: "warning",
      text: `version ${version} speaks API ${apiVersion}, which is older than what was tried`,
      hint: "Docker 19.03 or Podman 3, or a newer one, is known to work. If this one fails, what served before serves on.",
    },
  ];
}

/** Ports below this one are root's (ip(7)); the engine is not root there. */
async function checkRootless(
  { rootless }: EngineDescription,
  port: number,
  command: (port: number) => string,
): Promise<Finding[]> {
  if (!rootless) return [];
  const setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
  const first = Number(await readFile(setting, "utf8").catch(() => "1024"));
  if (port >= first) return [];
  return [
    {
      check: "engine",
      level: "warning",
      text: `it runs without root's rights, and ports below ${first} are root's: it may not get port ${port}`,
      hint: `Let it: \`sysctl net.ipv4.ip_unprivileged_port_start=${port}\`. Or take another port: \`${command(8443)}\``,
    },
  ];
}

function checkLocal({ local, address }: Engine): Finding[] {
  if (local) return [];
  return [
    {
      check: "engine",
      level: "warning",
      text: `it is reached by network (${address})`,
      hint: "It must run on this host: it mounts the site's directory.",
    },
  ];
}

const snap = /^\/var\/snap\/[^/]+\/common\//;
/** What snapd shows a confined snap of the host (snapd's interfaces "home" and "removable-media"). */
const shownToSnaps = /^\/(home|root|media|mnt|run\/media|var\/snap)\//;

/** Docker's snap is confined by AppArmor, and has a mount namespace of its own: other folders are not there for it. */
function checkSnap({ storageRoot = "" }: EngineDescription, site: string): Finding[] {
  const [own] = snap.exec(storageRoot) ?? [];
  if (own === undefined || shownToSnaps.test(`${site}/`)) return [];
  return [
    {
      check: "engine",
      level: "warning",
      text: `it is a snap, and as such is usually shown nothing of ${site}: the registry would not start`,
      hint: `Name a directory that it sees, as --site ${own}docker-registry. Or use Docker's own packages.`,
    },
  ];
}

/** While an image is loaded, its layers are there packed as well; unpacked they take two to three times that. */
const unpackedTimes = 4;
/** Files and folders of a registry image and what an engine keeps about it. */
const imageInodes = 500;

/**
 * What the engine takes in its own directory for the registry's image; nothing if it has it, or is elsewhere.
 * @param hasImage says that of its image manifest
 */
export async function engineSpace(
  index: Pick<BundleIndex, "registry" | "blobs">,
  engine: Engine,
  { storageRoot, platform }: EngineDescription,
  hasImage: (image: Digest) => Promise<boolean>,
): Promise<SpaceNeeded[]> {
  if (!engine.local || storageRoot === undefined) return [];
  const image = index.registry.images[registryPlatform(index.registry.images, platform) ?? ""];
  if (image === undefined || (await hasImage(image))) return [];
  const packed = index.blobs.reduce((sum, { role, size }) => sum + (role === "registry" ? size : 0), 0);
  // Of several platforms' images, which share nothing to speak of, one is loaded.
  const platforms = Object.keys(index.registry.images).length;
  return [{ path: storageRoot, bytes: Math.ceil((packed / platforms) * unpackedTimes), inodes: imageInodes }];
}
