/**
 * What a site remembers: that it is drydock's, where it is, and each release that was installed.
 *
 *   <site>/drydock.json                  {"formatVersion": 1}: written before anything else
 *   /etc/drydock/site.json               {"site": "/srv/docker-registry"}
 *   <site>/releases/<hex>/release.json   a ReleaseRecord
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { makeFolder, writeDurably } from "./durable.ts";
import { defaultSiteRoot, type SiteLayout, siteLayout } from "./layout.ts";

/** repository name → tag → digest */
export type Tags = Record<string, Record<string, Digest>>;

/** How the registry is reached, and what it takes. */
export interface ServeSettings {
  /** names and IP addresses that clients use, the registry's name first */
  addresses: string[];
  /** on the host */
  port: number;
  access: "read-only" | "push";
}

/** What the user says at the site instead of what the bundle says. */
export interface SiteChoices {
  addresses?: string[];
  port?: number;
}

/** One bundle as it was installed. Written when the install is complete. */
export interface ReleaseRecord {
  bundleDigest: Digest;
  /** of the manifest */
  name: string;
  release: number;
  /** RFC 3339, in UTC. When this bundle was last installed with an effect. */
  installedAt: string;
  /** The values of the bundle's tags before it was installed; a tag that wasn't there is absent. */
  tagsBefore: Tags;
  /** The bundle's tags. */
  tagsAfter: Tags;
  /** what the install had to write */
  placed: { blobs: number; bytes: number };
  /** how it is served */
  settings: ServeSettings;
  /** what of that was chosen at the site, now or for an earlier release */
  chosen: SiteChoices;
}

/** Makes the site's directory and marks it as drydock's. The first write of an install. */
export async function claimSite(layout: SiteLayout): Promise<void> {
  if (await isClaimed(layout)) return;
  await makeFolder(layout.root);
  await writeDurably(layout.marker, `${JSON.stringify({ formatVersion: 1 })}\n`);
}

/** Whether drydock made, or took over, this site. @throws DrydockError "host" if it cannot be read. */
export async function isClaimed(layout: SiteLayout): Promise<boolean> {
  return (await readJson(layout.marker)) !== undefined;
}

/** The folder of the host's own configuration; DRYDOCK_CONFIG_DIR names another. */
export function configFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.DRYDOCK_CONFIG_DIR || "/etc/drydock";
}

/**
 * Where the site is: what the user said, else what this host remembers, else the default.
 * @throws DrydockError "host" if the host's record is there and cannot be read.
 */
export async function findSite(option?: string, folder = configFolder()): Promise<SiteLayout> {
  if (option !== undefined) return siteLayout(option);
  const path = join(folder, "site.json");
  const record = await readJson(path);
  if (record === undefined) return siteLayout(defaultSiteRoot);
  if (typeof record === "object" && record !== null && "site" in record && typeof record.site === "string") {
    return siteLayout(record.site);
  }
  throw new DrydockError("host", `read "${path}": wanted {"site": "…"}, got ${JSON.stringify(record)}`, {
    hint: "Name the site's directory with --site.",
  });
}

/** Remembers on this host where the site is. Writes nothing if that is known already. */
export async function rememberSite(layout: SiteLayout, folder = configFolder()): Promise<void> {
  const path = join(folder, "site.json");
  const content = `${JSON.stringify({ site: layout.root }, null, 2)}\n`;
  if ((await readText(path)) === content) return;
  await makeFolder(folder);
  await writeDurably(path, content);
}

/** Writes a release's record, whole or not at all. Its folder is made if it is missing. */
export async function writeRelease(layout: SiteLayout, record: ReleaseRecord): Promise<void> {
  const release = layout.release(record.bundleDigest);
  await makeFolder(release.folder);
  await writeDurably(release.record, `${JSON.stringify(record, null, 2)}\n`);
}

/** The record of one bundle, or undefined if it isn't (completely) installed. */
export async function readRelease(layout: SiteLayout, digest: Digest): Promise<ReleaseRecord | undefined> {
  const path = layout.release(digest).record;
  const record = await readJson(path);
  if (record === undefined) return undefined;
  if (isReleaseRecord(record) && record.bundleDigest === digest) return record;
  throw new DrydockError("host", `read "${path}": it is not the record of ${digest}`);
}

/** Every complete release, the oldest first. */
export async function listReleases(layout: SiteLayout): Promise<ReleaseRecord[]> {
  const names = await readdir(layout.releases).catch((error) => {
    if (errorCode(error) === "ENOENT") return [];
    throw new DrydockError("host", `read "${layout.releases}": ${errorText(error)}`, { cause: error });
  });
  const digests = names.map((name) => `sha256:${name}`).filter(isDigest);
  const records = await Promise.all(digests.map((digest) => readRelease(layout, digest)));
  return records
    .filter((record) => record !== undefined)
    .sort((a, b) => Date.parse(a.installedAt) - Date.parse(b.installedAt));
}

/** The release that was installed last, if any. */
export async function currentRelease(layout: SiteLayout): Promise<ReleaseRecord | undefined> {
  return (await listReleases(layout)).at(-1);
}

function isReleaseRecord(value: unknown): value is ReleaseRecord {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Partial<Record<keyof ReleaseRecord, unknown>>;
  return (
    typeof record.bundleDigest === "string" &&
    typeof record.name === "string" &&
    typeof record.release === "number" &&
    typeof record.installedAt === "string" &&
    typeof record.tagsBefore === "object" &&
    typeof record.tagsAfter === "object" &&
    typeof record.settings === "object" &&
    typeof record.chosen === "object"
  );
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}

/** undefined if there is no such file. */
async function readJson(path: string): Promise<unknown> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
