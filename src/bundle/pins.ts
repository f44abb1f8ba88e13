/**
 * What the references of a manifest are held to: what a lock file says, or nothing, so that each means what
 * its upstream says at that moment.
 */
import { dirname, relative } from "node:path";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { Reporter } from "../reporter.ts";
import { publicUrl } from "./download.ts";
import { type Lock, lockFileOf, readLock } from "./lock-file.ts";
import type { Manifest, ManifestSeed } from "./manifest.ts";

/** none; lock: what it finds goes to the lock file; locked: it builds from the lock file */
export type Locking = "none" | "lock" | "locked";

export interface Pins {
  /** the time that the bundle has; undefined: that of its making */
  created?: string | undefined;
  /** The same reference with the digest that it is held to; its tag stays, for people. */
  image(reference: Reference): Reference;
  /** what must refer to it, by tag; undefined: whatever does */
  referrers(reference: Reference): Record<string, Digest> | undefined;
  /** the id of an image of the local engine */
  engine(name: string): string | undefined;
  /** 64 hexadecimal digits */
  seed(seed: ManifestSeed): string | undefined;
}

/** Holds references to no more than they say themselves. */
export const unpinned: Pins = {
  image: (reference) => reference,
  referrers: () => undefined,
  engine: () => undefined,
  seed: ({ sha256 }) => sha256,
};

/**
 * What the lock file beside the manifest says. Entries that the manifest no longer has are told in a note.
 * @throws DrydockError "input" if there is no lock file, or it lacks or contradicts what the manifest has
 */
export async function lockedPins(manifest: Manifest, reporter: Reporter): Promise<Pins> {
  const path = lockFileOf(manifest);
  const lock = await readLock(path);
  const { images, engine, seeds } = wanted(manifest);
  const missing = [
    ...images.filter((name) => lock.images[name] === undefined),
    ...engine.filter((name) => lock.engine[name] === undefined),
    ...seeds.filter((name) => lock.seeds[name] === undefined),
  ];
  const wrong = missing.map((name) => `${path}: ${name} is not in it`);
  for (const seed of manifest.seeds) {
    const locked = lock.seeds[seedName(manifest, seed)];
    if (locked === undefined || seed.sha256 === undefined || locked === seed.sha256) continue;
    wrong.push(`${path}: ${seedName(manifest, seed)} is ${locked}, the manifest says ${seed.sha256}`);
  }
  if (wrong.length > 0) {
    throw new DrydockError("input", wrong.join("\n"), {
      hint: "The manifest has changed since it was locked: lock it again with --lock.",
    });
  }
  noteUnused(lock, { images, engine, seeds }, path, reporter);
  return {
    created: lock.created,
    image: (reference) => pinned(reference, lock.images),
    referrers: (reference) => lock.referrers[formatReference(reference)] ?? {},
    engine: (name) => lock.engine[name],
    seed: (seed) => lock.seeds[seedName(manifest, seed)],
  };
}

function pinned(reference: Reference, images: Lock["images"]): Reference {
  const digest: Digest | undefined = images[formatReference(reference)];
  return digest === undefined ? reference : { ...reference, digest };
}

type Names = Record<"images" | "engine" | "seeds", string[]>;

/** The names under which a lock file has what the manifest has. */
function wanted(manifest: Manifest): Names {
  const of = (from: "registry" | "engine") => manifest.images.filter((image) => image.from === from);
  return {
    images: [manifest.registry.image, ...of("registry").map(({ reference }) => reference)].map(
      formatReference,
    ),
    engine: of("engine").map(({ source }) => engineName(source)),
    seeds: manifest.seeds.map((seed) => seedName(manifest, seed)),
  };
}

function noteUnused(lock: Lock, used: Names, path: string, reporter: Reporter): void {
  const unused = (["images", "engine", "seeds"] as const).flatMap((key) =>
    Object.keys(lock[key]).filter((name) => !used[key].includes(name)),
  );
  if (unused.length > 0) reporter.note(`${path}: not in the manifest any more: ${unused.join(", ")}`);
}

/** docker-daemon:my/app:dev → my/app:dev, as the engine knows it */
export function engineName(source: string): string {
  return source.replace(/^docker-daemon:/, "");
}

/** A seed's name in the lock file: its URL without secrets, or its path from the manifest's folder. */
export function seedName(manifest: Manifest, seed: ManifestSeed): string {
  return "url" in seed ? publicUrl(seed.url) : relative(dirname(manifest.file), seed.file);
}
