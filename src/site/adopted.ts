/**
 * What a site remembers of the registry that it took over, <site>/adopted/: adopted.json, written before
 * anything is changed, and certs/, copies of the certificates that then had drydock's names. With both, and
 * with the container itself, which is kept, everything can be given back.
 */
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { DrydockError } from "../errors.ts";
import { cannotWrite, makeFolder, syncFolder, writeDurably } from "./durable.ts";
import { jsonText, readJson } from "./json-file.ts";
import { readCertificates, showCertificates } from "./kept-certificates.ts";
import type { SiteLayout } from "./layout.ts";
import { isTags, type ServeSettings, type Tags } from "./record.ts";

export interface AdoptedContainer {
  /** the engine's */
  id: string;
  /** as it was made with: "registry:2" */
  image: string;
  /** whether it ran, and so is started when it is given back */
  running: boolean;
  /** as the engine has it: "always", "unless-stopped", "on-failure", "no" */
  restartPolicy: { Name: string; MaximumRetryCount?: number };
  /** on the host; absent if none was published */
  port?: number;
  access: ServeSettings["access"];
  /** paths on the host of what it served with; absent if it served without TLS */
  certificate?: string;
  key?: string;
  /** all that the engine said of it: for people, should it get lost */
  inspected: unknown;
}

export interface AdoptedRecord {
  /** RFC 3339, in UTC */
  adoptedAt: string;
  /** absent if there were only its directories */
  container?: AdoptedContainer;
  /** the values of all tags in the storage, before any was changed */
  tagsBefore: Tags;
  /** RFC 3339, in UTC. When drydock had left its data there, if what was taken over were those. */
  leftBefore?: string;
  /** RFC 3339, in UTC. When giving it back began; nothing is served by drydock from then on. */
  returningSince?: string;
}

/** @returns undefined if nothing was adopted. @throws DrydockError "host" if it cannot be read or is none. */
export async function readAdopted(layout: SiteLayout): Promise<AdoptedRecord | undefined> {
  const value = await readJson(layout.adopted.record);
  if (value === undefined || isAdopted(value)) return value;
  throw new DrydockError("host", `read "${layout.adopted.record}": it is not a record of drydock's`);
}

/**
 * Copies the certificates that are there, then writes the record; on disk when this returns. What an earlier
 * record left is replaced.
 */
export async function recordAdopted(layout: SiteLayout, record: AdoptedRecord): Promise<void> {
  await forgetAdopted(layout);
  await makeFolder(layout.adopted.folder, { mode: 0o700 });
  await showCertificates(await readCertificates(layout), layout.adopted);
  await writeAdopted(layout, record);
}

/** Only the record; 0600, since a container's settings may hold secrets. */
export async function writeAdopted(layout: SiteLayout, record: AdoptedRecord): Promise<void> {
  await writeDurably(layout.adopted.record, jsonText(record), { mode: 0o600 });
}

/** The record goes first: without it the rest means nothing. @throws DrydockError "host" */
export async function forgetAdopted({ adopted }: SiteLayout): Promise<void> {
  try {
    await rm(adopted.record, { force: true });
    await rm(adopted.folder, { recursive: true, force: true });
    await syncFolder(dirname(adopted.folder)).catch(() => {});
  } catch (error) {
    throw cannotWrite(adopted.folder, error);
  }
}

function isAdopted(value: unknown): value is AdoptedRecord {
  if (typeof value !== "object" || value === null) return false;
  const { adoptedAt, container, tagsBefore } = value as Partial<Record<keyof AdoptedRecord, unknown>>;
  return (
    typeof adoptedAt === "string" && isTags(tagsBefore) && (container === undefined || isContainer(container))
  );
}

function isContainer(value: unknown): boolean {
  const container = Object(value) as Partial<Record<keyof AdoptedContainer, unknown>>;
  return (
    typeof container.id === "string" &&
    typeof container.running === "boolean" &&
    typeof (Object(container.restartPolicy) as { Name?: unknown }).Name === "string"
  );
}
