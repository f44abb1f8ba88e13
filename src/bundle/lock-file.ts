/**
 * The lock file: what each reference of a manifest meant when it was locked. It stands beside the manifest
 * as NAME.lock.yaml.
 */
import { randomUUID } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { Ajv, type ValidateFunction } from "ajv";
import { stringify } from "yaml";
import { DrydockError, errorCode, fileErrorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { temporary } from "../temporary.ts";
import { ManifestText } from "./manifest-text.ts";

export interface Lock {
  /** when the first bundle of it was made, RFC 3339 in UTC: all bundles of one lock have this time */
  created?: string;
  /** whole reference (docker.io/library/alpine:3.20) → digest of its image manifest or image index */
  images: Record<string, Digest>;
  /** whole reference → tags below which signatures and the like refer to it → what they name */
  referrers: Record<string, Record<string, Digest>>;
  /** name in the local engine (my/app:dev) → the image's id there */
  engine: Record<string, string>;
  /** URL, or path from the manifest's folder → sha256, 64 digits */
  seeds: Record<string, string>;
}

const lockVersion = 1;

const header = `Made by \`drydock bundle --lock\`: what each reference of the manifest meant then.
\`drydock bundle --locked\` builds just this. Keep it with the manifest; make it anew with --lock.`;

const names = (pattern: string, what: string) => ({
  type: "object",
  description: `names with ${what}`,
  additionalProperties: { type: "string", pattern, description: what },
});
const schema = {
  type: "object",
  description: "lockVersion, images, referrers, engine and seeds",
  additionalProperties: false,
  required: ["lockVersion", "images", "referrers", "engine", "seeds"],
  properties: {
    lockVersion: { const: lockVersion, description: `${lockVersion}` },
    created: {
      type: "string",
      pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$",
      description: "a time as 2026-01-31T12:00:00Z",
    },
    images: names("^sha256:[0-9a-f]{64}$", "a sha256 digest"),
    referrers: {
      type: "object",
      description: "names with tags",
      additionalProperties: names("^sha256:[0-9a-f]{64}$", "a sha256 digest"),
    },
    engine: names("^sha256:[0-9a-f]{64}$", "an image's id"),
    seeds: names("^[0-9a-f]{64}$", "64 hexadecimal digits"),
  },
};
/** Compiled when a lock file is first read: it takes some 30 ms. */
let compiled: ValidateFunction<Lock> | undefined;

/** `site.yaml` of the name plant-7 → `plant-7.lock.yaml` beside it. */
export function lockFileOf(manifest: { file: string; name: string }): string {
  return join(dirname(manifest.file), `${manifest.name}.lock.yaml`);
}

/** @throws DrydockError "input" if it is not there or not as it must be, with a line for each problem */
export async function readLock(path: string): Promise<Lock> {
  const content = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new DrydockError("input", `read lock file ${JSON.stringify(path)}: ${fileErrorText(cause)}`, {
      hint: errorCode(cause) === "ENOENT" ? "Make it with --lock." : undefined,
      cause,
    });
  });
  const text = new ManifestText(path, content);
  const { value } = text;
  compiled ??= new Ajv({ allErrors: true, verbose: true }).compile<Lock>(schema);
  const validate = compiled;
  const fits = validate(value);
  for (const { keyword, params, instancePath, parentSchema } of fits ? [] : (validate.errors ?? [])) {
    const place = instancePath.split("/").slice(1).map(unescaped);
    if (keyword === "additionalProperties")
      text.problem([...place, params.additionalProperty], "unknown key");
    else if (keyword === "required") text.problem([...place, params.missingProperty], "is missing");
    else text.problem(place, `wanted ${parentSchema?.description}`);
  }
  text.throwIfWrong();
  if (fits) return value;
  throw new DrydockError("input", `read lock file ${JSON.stringify(path)}: it is none`);
}

/** RFC 6901, section 4. */
function unescaped(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

/**
 * Replaces the file at once. A lock that is there already and means the same keeps its time, and so its text.
 * @param created the time, if the lock is a new one
 * @returns the lock's time @throws DrydockError "host" if it can't be written
 */
export async function writeLock(path: string, lock: Omit<Lock, "created">, created: string): Promise<string> {
  const comment = header.replace(/^/gm, "# ");
  const { images, referrers, engine, seeds } = lock;
  const meaning = {
    images: sorted(images),
    referrers: sorted(referrers),
    engine: sorted(engine),
    seeds: sorted(seeds),
  };
  const time = await timeOf(path, meaning, created);
  const content = { lockVersion, created: time, ...meaning };
  await replaceFile(path, `${comment}\n${stringify(content, { lineWidth: 0 })}`);
  return time;
}

/** The time of the lock that is there, if it means the same. */
async function timeOf(path: string, meaning: Omit<Lock, "created">, created: string): Promise<string> {
  const there = await readLock(path).catch(() => undefined);
  if (there?.created === undefined) return created;
  const { images, referrers, engine, seeds } = there;
  return isDeepStrictEqual({ images, referrers, engine, seeds }, meaning) ? there.created : created;
}

/** Whoever reads it finds the old text or all of the new one, also after a power cut. */
async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = temporary(join(dirname(path), `.lock-${randomUUID()}`));
  try {
    const file = await open(fresh.path, "wx", 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh.path, path);
    fresh.keep();
  } catch (cause) {
    await fresh.remove();
    throw new DrydockError("host", `write lock file ${JSON.stringify(path)}: ${fileErrorText(cause)}`, {
      cause,
    });
  }
}

function sorted<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}
