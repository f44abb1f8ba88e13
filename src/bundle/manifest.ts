/**
 * Reads a manifest (`manifests/*.yaml`): everything that can be known without the network is checked
 * here, before anything is fetched.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { describeMatch } from "../archive/packages.ts";
import { checkAddress } from "../certificates/addresses.ts";
import { type CertificateRequest, parseCertificateRequest } from "../certificates/request.ts";
import { DrydockError, fileErrorText } from "../errors.ts";
import { isRegistryHost, parseReference, type Reference } from "../oci/reference.ts";
import { type Reporter, silentReporter } from "../reporter.ts";
import { type ImageList, ImageLists } from "./find-images/image-lists.ts";
import { carriedFiles, isFile, type ManifestCarriedFile } from "./manifest-files.ts";
import { checkMatch, type ManifestPackages, packageFiles } from "./manifest-packages.ts";
import { manifestSchema } from "./manifest-schema.ts";
import { checkShape, type ShapeCheck } from "./manifest-shape.ts";
import { type KeyPath, ManifestText } from "./manifest-text.ts";
import type { Image, ManifestFile } from "./manifest-types.ts";
import { NamedImages, nameOf } from "./named-images.ts";

/** A manifest, checked, with its defaults filled in and its paths absolute. */
export interface Manifest {
  /** the manifest's path as it was given */
  file: string;
  name: string;
  release: number;
  /** checked, in lower case; the first is the registry's name */
  addresses: string[];
  platforms: string[];
  /** registry → the hosts to ask in its place, in order, before itself */
  mirrors: Record<string, string[]>;
  registry: { image: Reference; port: number; access: "read-only" | "push" };
  certificates: { from: "bundle" | "site"; ca?: CertificateRequest; server?: CertificateRequest };
  seeds: ManifestSeed[];
  images: ManifestImage[];
  files: ManifestCarriedFile[];
  packages: ManifestPackages[];
}

/** `url` comes with `sha256`; `file` is absolute and exists. */
export type ManifestSeed = ({ url: string; sha256: string } | { file: string; sha256?: string }) & {
  keep?: "packed" | "unpacked";
};

export interface ManifestImage {
  /** as the user wrote it, for messages: "docker-daemon:my/app:dev" */
  source: string;
  /** registry: over the network. engine: from the local Docker or Podman */
  from: "registry" | "engine";
  reference: Reference;
  platforms: string[] | "all";
  /** whether what refers to it (signatures, SBOMs, attestations) is carried too */
  referrers: boolean;
  /** its name at the site; no tag where the reference has a digest alone */
  site: { repository: string; tag?: string };
}

const defaults = {
  release: manifestSchema.properties.release.default,
  platforms: manifestSchema.properties.platforms.default,
  referrers: manifestSchema.properties.referrers.default,
  image: manifestSchema.definitions.registry.properties.image.default,
  port: manifestSchema.definitions.registry.properties.port.default,
  access: manifestSchema.definitions.registry.properties.access.default,
  from: manifestSchema.definitions.certificates.properties.from.default,
};

export interface ManifestOptions {
  /** more files that name images, relative to the working directory; "-" is standard input */
  imagesFrom?: readonly string[];
  /** is told what was not searched for images */
  reporter?: Reporter;
}

/**
 * @throws DrydockError "input". Where the file can be read, its message has a line for each problem:
 * "FILE:LINE: KEY: what is wrong".
 */
export async function readManifest(file: string, options: ManifestOptions = {}): Promise<Manifest> {
  const text = new ManifestText(file, await readText(file));
  const shape = checkShape(text);
  const reader = new Reader(text, shape, dirname(resolve(file)));
  const addresses = reader.addresses();
  const image = reader.reference(["registry", "image"], shape.manifest.registry?.image ?? defaults.image);
  const mirrors = reader.mirrors();
  const images = reader.images();
  const lists = await reader.imageLists(options.imagesFrom ?? []);
  const certificates = await reader.certificates();
  const seeds = await reader.seeds();
  const files = await reader.files();
  const packages = await reader.packages();
  text.throwIfWrong();
  await addListed(images, lists, options.reporter ?? silentReporter);
  // Only now it is certain that it is a whole one.
  const { name, release, platforms, registry } = shape.manifest as ManifestFile;
  return {
    file,
    name,
    release: release ?? defaults.release,
    addresses,
    platforms: platforms ?? [...defaults.platforms],
    mirrors,
    registry: {
      image: image ?? parseReference(defaults.image),
      port: registry?.port ?? defaults.port,
      access: registry?.access ?? defaults.access,
    },
    certificates,
    seeds,
    images: images.images,
    files,
    packages,
  };
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new DrydockError("input", `read manifest ${JSON.stringify(file)}: ${fileErrorText(cause)}`, {
      cause,
    });
  }
}

/** Each method reads one key's value as far as its shape fits, and adds what is wrong with it to the text. */
class Reader {
  readonly #text: ManifestText;
  readonly #shape: ShapeCheck;
  readonly #folder: string;

  constructor(text: ManifestText, shape: ShapeCheck, folder: string) {
    this.#text = text;
    this.#shape = shape;
    this.#folder = folder;
  }

  /** What `read` gives, or undefined where it throws that the input is wrong. */
  #try<T>(path: KeyPath, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof DrydockError)) throw error;
      this.#text.problem(path, error.hint === undefined ? error.message : `${error.message}. ${error.hint}`);
      return undefined;
    }
  }

  /** As #try, for what takes its time. */
  async #tryLater(path: KeyPath, read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      this.#try(path, () => {
        throw error;
      });
    }
  }

  /** The entries of a list, with their places, that are as the schema wants them. */
  #entries<T>(key: keyof ManifestFile, list: readonly T[] | undefined): { path: KeyPath; entry: T }[] {
    if (!Array.isArray(list)) return [];
    return list
      .map((entry: T, index) => ({ path: [key, index], entry }))
      .filter(({ path }) => this.#shape.fits(path));
  }

  addresses(): string[] {
    const seen = new Map<string, KeyPath>();
    for (const { path, entry } of this.#entries("addresses", this.#shape.manifest.addresses)) {
      const address = this.#try(path, () => checkAddress(entry).value);
      if (address === undefined) continue;
      const first = seen.get(address);
      if (first === undefined) seen.set(address, path);
      else
        this.#text.problem(path, `${JSON.stringify(entry)} stands on line ${this.#text.lineOf(first)} too`);
    }
    return [...seen.keys()];
  }

  reference(path: KeyPath, text: string): Reference | undefined {
    return this.#shape.fits(path) ? this.#try(path, () => parseReference(text)) : undefined;
  }

  mirrors(): Manifest["mirrors"] {
    const { manifest, fits } = this.#shape;
    if (manifest.mirrors === undefined || !fits(["mirrors"])) return {};
    for (const [registry, hosts] of Object.entries(manifest.mirrors)) {
      for (const host of [registry, ...hosts]) {
        if (isRegistryHost(host)) continue;
        this.#text.problem(["mirrors", registry], `${JSON.stringify(host)} is not HOST or HOST:PORT`);
      }
    }
    return manifest.mirrors;
  }

  /** Those that the manifest names itself. */
  images(): NamedImages {
    const named = new NamedImages();
    const unsaid = this.#unsaid();
    for (const { path, entry } of this.#entries("images", this.#shape.manifest.images)) {
      const { reference = "", from, ...rest } = fieldsOf(entry);
      if (from !== undefined) continue;
      const image = this.#try(path, () => readImage({ ...unsaid, ...rest, reference }));
      if (image === undefined) continue;
      const line = this.#text.lineOf(path);
      const other = named.add(image, `${this.#text.file}:${line}`);
      if (other !== undefined) this.#clash(path, image, other);
    }
    return named;
  }

  /** The files in which more images are named. @param more those that the manifest does not speak of */
  async imageLists(more: readonly string[]): Promise<ImageList<ImageFields>[]> {
    const unsaid = this.#unsaid();
    const lists = new ImageLists<ImageFields>();
    for (const { path, entry } of this.#entries("images", this.#shape.manifest.images)) {
      const { from, reference: _, ...rest } = fieldsOf(entry);
      if (from === undefined) continue;
      const fields = { ...unsaid, ...rest };
      await this.#tryLater(path, () => lists.add(from, dirname(this.#text.file), fields));
    }
    for (const from of more) lists.addFile(from, unsaid);
    return lists.lists;
  }

  /** What holds for an image that does not say it. */
  #unsaid(): ImageFields {
    const { manifest, fits } = this.#shape;
    const platforms = fits(["platforms"]) ? (manifest.platforms ?? [...defaults.platforms]) : [];
    return { platforms, referrers: manifest.referrers ?? defaults.referrers };
  }

  #clash(path: KeyPath, image: ManifestImage, other: { image: ManifestImage; where: string }): void {
    const line = other.where.slice(other.where.lastIndexOf(":") + 1);
    const text = `${image.source} and ${other.image.source} (line ${line}) would both be ${nameOf(image)} at the site`;
    this.#text.problem(path, `${text}; give one another name with \`as\`, or leave it out`);
  }

  async certificates(): Promise<Manifest["certificates"]> {
    const { manifest, fits } = this.#shape;
    const result: Manifest["certificates"] = { from: manifest.certificates?.from ?? defaults.from };
    for (const key of ["ca", "server"] as const) {
      const path = ["certificates", key];
      const written = manifest.certificates?.[key];
      if (written === undefined || !fits(path)) continue;
      const fields = typeof written === "string" ? await this.#json(path, written) : { value: written };
      if (fields === undefined) continue;
      const where = typeof written === "string" ? written : "in cfssl's form";
      const request = this.#try(path, () => parseCertificateRequest(fields.value, where));
      if (request !== undefined) result[key] = request;
    }
    return result;
  }

  /** A JSON file's value, in an object since it may be anything. */
  async #json(path: KeyPath, written: string): Promise<{ value: unknown } | undefined> {
    try {
      return { value: JSON.parse(await readFile(resolve(this.#folder, written), "utf8")) };
    } catch (error) {
      this.#text.problem(path, `read ${JSON.stringify(written)}: ${fileErrorText(error)}`);
      return undefined;
    }
  }

  async seeds(): Promise<ManifestSeed[]> {
    const seeds: ManifestSeed[] = [];
    for (const { path, entry } of this.#entries("seeds", this.#shape.manifest.seeds)) {
      const { url, file, sha256, keep } = entry;
      const how = keep === undefined ? {} : { keep };
      if (url !== undefined && sha256 !== undefined) {
        if (URL.canParse(url)) seeds.push({ url, sha256, ...how });
        else this.#text.problem([...path, "url"], `${JSON.stringify(url)} is not a URL`);
      } else if (file !== undefined) {
        const absolute = resolve(this.#folder, file);
        if (!(await isFile(absolute))) {
          this.#text.problem(
            [...path, "file"],
            `there is no file ${JSON.stringify(file)} beside the manifest`,
          );
        }
        seeds.push({ file: absolute, ...(sha256 === undefined ? {} : { sha256 }), ...how });
      }
    }
    return seeds;
  }

  async files(): Promise<ManifestCarriedFile[]> {
    const found = new Map<string, ManifestCarriedFile>();
    for (const { path, entry } of this.#entries("files", this.#shape.manifest.files)) {
      await this.#tryLater(path, async () => {
        for (const file of await carriedFiles(this.#folder, entry)) found.set(file.name, file);
      });
    }
    return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async packages(): Promise<ManifestPackages[]> {
    const sets: ManifestPackages[] = [];
    const seen = new Map<string, KeyPath>();
    for (const { path, entry } of this.#entries("packages", this.#shape.manifest.packages)) {
      const { match, files: patterns } = entry;
      const hosts = describeMatch(match);
      const first = seen.get(hosts);
      if (first !== undefined)
        this.#text.problem(path, `line ${this.#text.lineOf(first)} has packages for ${hosts} too`);
      seen.set(hosts, path);
      await this.#tryLater([...path, "files"], async () => {
        const { kind, files } = await packageFiles(this.#folder, patterns);
        this.#try([...path, "match"], () => checkMatch(match, kind));
        sets.push({ match, files });
      });
    }
    return sets;
  }
}

const enginePrefix = "docker-daemon:";

/** Reads the lists and adds what they name. @throws DrydockError "input" with a line for each problem */
async function addListed(
  images: NamedImages,
  lists: ImageList<ImageFields>[],
  reporter: Reporter,
): Promise<void> {
  const problems: DrydockError[] = [];
  for (const list of lists) {
    for (const { reference, where } of await list.read(reporter)) {
      try {
        images.addFound(readImage({ ...list.fields, reference }), where);
      } catch (error) {
        if (!(error instanceof DrydockError)) throw error;
        problems.push(new DrydockError("input", `${where}: ${error.message}`, { hint: error.hint }));
      }
    }
  }
  if (problems.length === 0) return;
  const hints = new Set(problems.map(({ hint }) => hint));
  throw new DrydockError("input", problems.map(({ message }) => message).join("\n"), {
    hint: hints.size === 1 ? problems[0]?.hint : undefined,
  });
}

/** What an entry of `images` says besides the reference; what it does not say is filled in. */
interface ImageFields {
  /** no other text than "all": the schema sees to it */
  platforms: string[] | string;
  referrers: boolean;
  as?: string;
}

function fieldsOf(written: Image): Exclude<Image, string> {
  return typeof written === "string" ? { reference: written } : written;
}

/** @throws DrydockError "input" if the reference is none. */
function readImage(written: ImageFields & { reference: string }): ManifestImage {
  const { reference: source, platforms, referrers, as } = written;
  const fromEngine = source.startsWith(enginePrefix);
  const reference = parseReference(fromEngine ? source.slice(enginePrefix.length) : source);
  const tag = reference.tag === undefined ? {} : { tag: reference.tag };
  return {
    source,
    from: fromEngine ? "engine" : "registry",
    reference,
    platforms: typeof platforms === "string" ? "all" : platforms,
    referrers,
    site: as === undefined ? { repository: reference.repository, ...tag } : { ...tag, ...splitName(as) },
  };
}

/** team/app:1 → team/app and 1. The schema has checked it. */
function splitName(as: string): { repository: string; tag?: string } {
  const [repository = as, tag] = as.split(":");
  return tag === undefined ? { repository } : { repository, tag };
}
