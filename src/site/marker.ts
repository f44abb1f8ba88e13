/**
 * The site's marker, <site>/drydock.json: it says that the directory is drydock's, and what is in effect there.
 * One file, so that all of that changes at once, whenever the power is cut:
 *
 *   {"formatVersion": 1,
 *    "current": "sha256:…",        the bundle whose release is served; absent before the first is complete
 *    "certificates": "sha256:…",   those it is served with (see kept-certificates.ts)
 *    "releases": {"sha256:…": {}, "sha256:…": {"rolledBackAt": "…"}},
 *    "completed": "…"}             when the action was begun that was completed last: its journal is done with
 *
 *   {"formatVersion": 1,
 *    "uninstalled": "…"}           drydock has left, and the data that it made are kept
 *
 * A release whose record is there and that is not among `releases` was never complete.
 */
import { DrydockError } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { makeFolder, writeDurably } from "./durable.ts";
import { readJson, withoutRecords } from "./json-file.ts";
import type { SiteLayout } from "./layout.ts";

export interface Marker {
  current?: Digest;
  /** absent where an earlier drydock wrote the marker: then they are those in certs/ */
  certificates?: Digest;
  /** absent where an earlier drydock wrote the marker: then each record tells of itself */
  releases?: Record<string, ReleaseState>;
  completed?: string;
}

export interface ReleaseState {
  /** RFC 3339, in UTC. When a rollback undid it; absent while it is in effect. */
  rolledBackAt?: string;
}

/** Makes the site's directory and marks it as drydock's. The first write of an install. */
export async function claimSite(layout: SiteLayout): Promise<void> {
  if (await isClaimed(layout)) return;
  await makeFolder(layout.root);
  await writeMarker(layout, { releases: {} });
}

/** Whether drydock made, or took over, this site, and has not left it. @throws DrydockError "host" if it cannot be read. */
export async function isClaimed(layout: SiteLayout): Promise<boolean> {
  const marker = await readJson(layout.marker, withoutRecords);
  return marker !== undefined && !hasLeft(marker);
}

/** Says that drydock has left, and that what is there are its data. Writes nothing if it is said already. */
export async function leaveData(layout: SiteLayout, now = new Date()): Promise<void> {
  // A marker that is no JSON any more says nothing.
  if (hasLeft(await readJson(layout.marker, withoutRecords).catch(() => undefined))) return;
  const marker = { formatVersion: 1, uninstalled: now.toISOString() };
  await writeDurably(layout.marker, `${JSON.stringify(marker)}\n`);
}

/** When drydock left, RFC 3339, if it has left its data. */
export async function leftAt(layout: SiteLayout): Promise<string | undefined> {
  const marker: { uninstalled?: unknown } = Object(await readJson(layout.marker, withoutRecords));
  return typeof marker.uninstalled === "string" ? marker.uninstalled : undefined;
}

function hasLeft(marker: unknown): boolean {
  return typeof Object(marker).uninstalled === "string";
}

/** Nothing is in effect where there is none. @throws DrydockError "host" if it cannot be read or is none. */
export async function readMarker(layout: SiteLayout): Promise<Marker> {
  const marker = Object(await readJson(layout.marker, withoutRecords)) as Record<keyof Marker, unknown>;
  for (const key of ["current", "certificates"] as const) {
    const value = marker[key];
    if (value === undefined || (typeof value === "string" && isDigest(value))) continue;
    throw new DrydockError("host", `read "${layout.marker}": ${JSON.stringify(value)} is no digest`, {
      hint: withoutRecords,
    });
  }
  return marker as Marker;
}

/** Whole and on disk when this returns. @throws DrydockError "host" */
export async function writeMarker(layout: SiteLayout, marker: Marker): Promise<void> {
  const { current, certificates, releases, completed } = marker;
  const text = JSON.stringify({ formatVersion: 1, current, certificates, releases, completed });
  await writeDurably(layout.marker, `${text}\n`);
}

/** The bundle whose release is served now; undefined before the first is complete. @throws DrydockError "host" */
export async function currentDigest(layout: SiteLayout): Promise<Digest | undefined> {
  return (await readMarker(layout)).current;
}
