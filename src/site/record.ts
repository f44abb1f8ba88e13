/**
 * What a site remembers: where it is, and each release that was installed.
 *
 *   /etc/drydock/site.json               {"site": "/srv/docker-registry"}
 *   <site>/releases/<hex>/release.json   a ReleaseRecord; whether it is in effect, the marker says (marker.ts)
 */
import { readdir, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { cannotWrite, makeFolder, removeTemporaries, writeDurably } from "./durable.ts";
import { jsonText, readBytesIfThere, readJson, withoutRecords } from "./json-file.ts";
import { defaultSiteRoot, type SiteLayout, siteLayout } from "./layout.ts";
import { currentDigest, type Marker, type ReleaseState, readMarker, writeMarker } from "./marker.ts";

/** repository name → tag → digest */
export type Tags = Record<string, Record<string, Digest>>;

/** path below files/ → digest */
export type Files = Record<string, Digest>;

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
  access?: ServeSettings["access"];
}

/** One bundle as it was installed. Written when the install is complete. */
export interface ReleaseRecord {
  bundleDigest: Digest;
  /** of the manifest */
  name: string;
  release: number;
  /** 1 for the site's first install, rising: says what came after what, whatever the clock said */
  sequence: number;
  /** RFC 3339, in UTC. When this bundle became the current release by an install; mending it later doesn't count. */
  installedAt: string;
  /** the release that was current before, if there was one: what `rollback` goes back to */
  over?: Digest;
  /** RFC 3339, in UTC. When a rollback undid it; absent while it is in effect. Stands in the marker. */
  rolledBackAt?: string;
  /** The values of the bundle's tags before it was installed; a tag that wasn't there is absent. */
  tagsBefore: Tags;
  /** The bundle's tags. */
  tagsAfter: Tags;
  /** The same for what the manifest's `files:` carried; absent in a record of an earlier drydock, as the next. */
  filesBefore?: Files;
  filesAfter?: Files;
  /** with which it was served when it was complete: see kept-certificates.ts */
  certificates?: Digest;
  /** what the install had to write */
  placed: { blobs: number; bytes: number };
  /** how it is served */
  settings: ServeSettings;
  /** what of that was chosen at the site, now or for an earlier release */
  chosen: SiteChoices;
  /** the image manifest of the registry's own image, whose blobs are in the release's folder */
  registryImage: Digest;
}

/** The folder of the host's own configuration; DRYDOCK_CONFIG_DIR names another. */
export function configFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.DRYDOCK_CONFIG_DIR || "/etc/drydock";
}

/**
 * Where the site is: what the user said, else what this host remembers, else the default.
 * @throws DrydockError "input" if that is a file, "host" if the host's record is there and cannot be read.
 */
export async function findSite(option?: string, folder = configFolder()): Promise<SiteLayout> {
  if (option !== undefined) {
    await checkFolder(option);
    return siteLayout(option);
  }
  const path = join(folder, "site.json");
  const hint = "Name the site's directory with --site.";
  const record = await readJson(path, hint);
  if (record === undefined) return siteLayout(defaultSiteRoot);
  if (typeof record === "object" && record !== null && "site" in record && typeof record.site === "string") {
    return siteLayout(record.site);
  }
  throw new DrydockError("host", `read "${path}": wanted {"site": "…"}, got ${JSON.stringify(record)}`, {
    hint,
  });
}

/** It need not exist yet. */
async function checkFolder(path: string): Promise<void> {
  const mayBe = await stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => errorCode(error) !== "ENOTDIR",
  );
  if (mayBe) return;
  throw new DrydockError("input", `site ${JSON.stringify(path)}: that is a file, or below one`, {
    hint: "Name a directory with --site.",
  });
}

/** Remembers on this host where the site is. Writes nothing if that is known already. */
export async function rememberSite(layout: SiteLayout, folder = configFolder()): Promise<void> {
  const path = join(folder, "site.json");
  const content = jsonText({ site: layout.root });
  if ((await readBytesIfThere(path))?.toString("utf8") === content) return;
  await makeFolder(folder);
  await removeTemporaries(folder);
  await writeDurably(path, content);
}

/**
 * Forgets where the site is, if it is this one that the host remembers; the folder goes if it is empty then.
 * @returns whether there was something to forget
 */
export async function forgetSite(layout: SiteLayout, folder = configFolder()): Promise<boolean> {
  const path = join(folder, "site.json");
  const record = Object(await readJson(path)) as { site?: unknown };
  await removeTemporaries(folder);
  try {
    if (record.site === layout.root) await rm(path, { force: true });
    await rmdir(folder).catch(() => {});
  } catch (error) {
    throw cannotWrite(path, error);
  }
  return record.site === layout.root;
}

/** Writes a release's record, whole or not at all. Its folder is made if it is missing. */
export async function writeRelease(layout: SiteLayout, record: ReleaseRecord): Promise<void> {
  const release = layout.release(record.bundleDigest);
  const { rolledBackAt, ...rest } = record;
  await makeFolder(release.folder);
  await writeDurably(release.record, jsonText(rest));
}

/** The record of one bundle, or undefined if it isn't (completely) installed. */
export async function readRelease(layout: SiteLayout, digest: Digest): Promise<ReleaseRecord | undefined> {
  return stateOf(await readRecord(layout.release(digest).record, digest), await readMarker(layout));
}

/** As the marker has it; undefined if it was never complete. */
function stateOf(record: ReleaseRecord | undefined, { releases }: Marker): ReleaseRecord | undefined {
  if (record === undefined || releases === undefined) return record;
  const state = releases[record.bundleDigest];
  const { rolledBackAt, ...rest } = record;
  return state && { ...rest, ...state };
}

/**
 * Says, at once and durably, that an action is complete: which release is served, with which certificates, and
 * which are in effect.
 * @param undone those that are rolled back from now on @param redone those that are in effect (again)
 * @param begunAt of the action's journal
 */
export async function completeAction(
  layout: SiteLayout,
  { current, certificates, undone = [], redone = [], begunAt }: Completed,
): Promise<void> {
  const { releases: before } = await readMarker(layout);
  const releases = new Map<Digest, ReleaseState>();
  for (const digest of await listReleaseFolders(layout)) {
    const state = before ? before[digest] : await ownState(layout, digest);
    if (state !== undefined) releases.set(digest, state);
  }
  const rolledBackAt = new Date().toISOString();
  for (const digest of undone) releases.set(digest, { rolledBackAt });
  for (const digest of [...redone, current]) releases.set(digest, {});
  const completed = begunAt;
  await writeMarker(layout, { current, certificates, releases: Object.fromEntries(releases), completed });
}

export interface Completed {
  current: Digest;
  certificates: Digest;
  undone?: readonly Digest[];
  redone?: readonly Digest[];
  begunAt: string;
}

/** What a record says of itself, as an earlier drydock wrote it. */
async function ownState(layout: SiteLayout, digest: Digest): Promise<ReleaseState | undefined> {
  const { record, prunedRecord } = layout.release(digest);
  const found = (await readRecord(record, digest)) ?? (await readRecord(prunedRecord, digest));
  return found && (found.rolledBackAt === undefined ? {} : { rolledBackAt: found.rolledBackAt });
}

/** A release that a prune has taken out of the history; undefined if the record is none of such. */
export async function readPruned(layout: SiteLayout, digest: Digest): Promise<ReleaseRecord | undefined> {
  return stateOf(await readRecord(layout.release(digest).prunedRecord, digest), await readMarker(layout));
}

/** In whichever file, as it stands there; undefined if there is none. @throws DrydockError "host" if it is none. */
async function readRecord(path: string, digest: Digest): Promise<ReleaseRecord | undefined> {
  const hint = withoutRecords;
  const record = await readJson(path, hint);
  if (record === undefined) return undefined;
  if (isReleaseRecord(record) && record.bundleDigest === digest) return record;
  throw new DrydockError("host", `read "${path}": it is not the record of ${digest}`, { hint });
}

/** Whose folders there are: also of bundles that are not, or no longer, completely installed. */
export async function listReleaseFolders(layout: SiteLayout): Promise<Digest[]> {
  const names = await readdir(layout.releases).catch((error) => {
    if (errorCode(error) === "ENOENT") return [];
    throw new DrydockError("host", `read "${layout.releases}": ${errorText(error)}`, { cause: error });
  });
  return names.map((name) => `sha256:${name}`).filter(isDigest);
}

/** Every complete release, also those that were rolled back, in the order in which they were installed. */
export async function listReleases(layout: SiteLayout): Promise<ReleaseRecord[]> {
  const digests = await listReleaseFolders(layout);
  const records = await Promise.all(digests.map((digest) => readRelease(layout, digest)));
  return records.filter((record) => record !== undefined).sort((a, b) => a.sequence - b.sequence);
}

/** The release that is served, as the site's marker says; undefined if none is, or its record is gone. */
export async function currentRelease(layout: SiteLayout): Promise<ReleaseRecord | undefined> {
  const digest = await currentDigest(layout);
  return digest === undefined ? undefined : await readRelease(layout, digest);
}

/** Whether it is a table of tags and digests, as a record or a journal holds them. */
export function isTags(value: unknown): value is Tags {
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).every(
    (tags) =>
      typeof tags === "object" &&
      tags !== null &&
      Object.values(tags).every((digest) => typeof digest === "string" && isDigest(digest)),
  );
}

/** Whether it is a table of names and digests. */
export function isFiles(value: unknown): value is Files {
  return isTags({ files: value });
}

function isReleaseRecord(value: unknown): value is ReleaseRecord {
  if (typeof value !== "object" || value === null) return false;
  const record = value as Partial<Record<keyof ReleaseRecord, unknown>>;
  return (
    typeof record.bundleDigest === "string" &&
    typeof record.name === "string" &&
    typeof record.release === "number" &&
    typeof record.sequence === "number" &&
    typeof record.installedAt === "string" &&
    typeof record.registryImage === "string" &&
    isDigest(record.registryImage) &&
    isTags(record.tagsBefore) &&
    isTags(record.tagsAfter) &&
    isFiles(record.filesBefore ?? {}) &&
    isFiles(record.filesAfter ?? {}) &&
    isDigest(String(record.certificates ?? record.registryImage)) &&
    typeof record.settings === "object" &&
    typeof record.chosen === "object"
  );
}
