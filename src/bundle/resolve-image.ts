/**
 * Which image manifests and blobs of an upstream image are carried: those of the platforms asked for, the
 * image index above them unchanged, so that its digest stays.
 */
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import {
  type Descriptor,
  type ImageManifest,
  parseImageConfig,
  parseImageManifest,
  platformOf,
} from "../oci/image-manifest.ts";
import { manifestKind } from "../oci/media-types.ts";
import {
  formatPlatform,
  isUnknownPlatform,
  type Platform,
  parsePlatform,
  selectPlatform,
} from "../oci/platform.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { FetchedManifest, RegistryClient } from "../oci/registry-client.ts";
import { findReferrers, type LeftOut, notServed } from "./referrers.ts";

export type WantedPlatforms = string[] | "all";

export interface ResolvedManifest {
  digest: Digest;
  mediaType: string;
  bytes: Buffer;
  /** of a container image */
  platform?: Platform;
}

export interface ResolvedImage {
  /** what the reference names: the index's own digest where it is one */
  digest: Digest;
  mediaType: string;
  /** an index before what it names */
  manifests: ResolvedManifest[];
  /** configs and layers, each once; without foreign layers that the registry does not hold */
  blobs: Descriptor[];
  /** what is taken, sorted; empty for an OCI artifact */
  platforms: string[];
  /** what was asked for and is not there */
  missing: string[];
  /** the tags of what refers to it: "sha256-….sig" */
  tags: Record<string, Digest>;
  /** what is there, but can't be carried */
  leftOut: LeftOut[];
}

/** One image manifest and what was read from it. */
interface Node extends ResolvedManifest {
  parsed: ImageManifest;
}

/** What one manifest gives, with all that is below it. */
interface Selection {
  /** an index first; empty if nothing is wanted of it */
  nodes: Node[];
  /** the platforms that are there, wanted or not */
  available: Platform[];
}

/** A child of an index, fetched if it is taken. */
interface Candidate {
  /** undefined where it fits any platform: artifacts, and nested indexes, which select by themselves */
  platform?: Platform | undefined;
  available: Platform[];
  take(): Promise<Node[]>;
}

/** Mark an attestation, and name what it is of (buildkit, docs/attestations/attestation-storage.md). */
const attestationMark = "vnd.docker.reference.type";
const attestationSubject = "vnd.docker.reference.digest";
const deepestIndex = 4;

/**
 * @param platforms which children of an index to take; "all" takes attestations, too
 * @param options referrers: take what refers to any of it, too
 * @throws DrydockError "upstream" as RegistryClient.resolve, and if none of the platforms is there (it names
 *   those that are); "integrity" if a manifest or a size is not as the one above it says.
 */
export async function resolveImage(
  client: RegistryClient,
  reference: Reference,
  platforms: WantedPlatforms,
  { referrers = false }: { referrers?: boolean } = {},
): Promise<ResolvedImage> {
  return await new ImageResolver(client, reference, platforms, referrers).resolve();
}

class ImageResolver {
  readonly #client: RegistryClient;
  readonly #reference: Reference;
  readonly #name: string;
  readonly #wanted: Platform[] | "all";
  readonly #referrers: boolean;
  readonly #leftOut = new Map<Digest, LeftOut>();

  constructor(client: RegistryClient, reference: Reference, platforms: WantedPlatforms, referrers: boolean) {
    this.#client = client;
    this.#reference = reference;
    this.#name = formatReference(reference);
    this.#wanted = platforms === "all" ? "all" : platforms.map(parsePlatform);
    this.#referrers = referrers;
  }

  async resolve(): Promise<ResolvedImage> {
    const root = await this.#read(await this.#client.resolve(this.#reference));
    const isIndex = root.parsed.kind === "index";
    const { nodes, available } = isIndex ? await this.#selectFrom(root, 1) : this.#single(root);
    const manifests = uniqueByDigest(nodes);
    const taken = manifests.flatMap(({ platform }) => (platform === undefined ? [] : [platform]));
    const nothing = manifests.length === 0 || (taken.length === 0 && available.length > 0);
    if (nothing) throw this.#nothingTaken(available, isIndex);
    const found = await this.#referrersOf(manifests);
    const all = uniqueByDigest<Node>([...manifests, ...found.manifests]);
    return {
      digest: root.digest,
      mediaType: root.mediaType,
      manifests: all.map(({ parsed: _, ...manifest }) => manifest),
      blobs: await this.#blobsOf(all),
      platforms: namesOf(taken),
      missing: this.#missing(taken),
      tags: found.tags,
      leftOut: [...this.#leftOut.values(), ...found.leftOut],
    };
  }

  async #referrersOf(nodes: Node[]): ReturnType<typeof findReferrers> {
    if (!this.#referrers) return { manifests: [], tags: {}, leftOut: [] };
    return await findReferrers(
      this.#client,
      this.#reference,
      nodes.map(({ digest }) => digest),
    );
  }

  /** A manifest that no index speaks for: an artifact, or an image whose config says its platform. */
  #single(node: Node): Selection {
    const { platform } = node;
    const available = platform === undefined ? [] : [platform];
    const fits = platform === undefined || this.#wanted === "all" || this.#select([node]).length > 0;
    return { nodes: fits ? [node] : [], available };
  }

  async #selectFrom(index: Node, depth: number): Promise<Selection> {
    if (depth > deepestIndex) {
      throw new DrydockError("upstream", `resolve ${this.#name}: over ${deepestIndex} nested image indexes`);
    }
    const known = uniqueByDigest(index.parsed.children).filter((child) => this.#isServed(child));
    const children = known.filter((child) => this.#wanted === "all" || !isAttestation(child));
    const candidates = await Promise.all(children.map((child) => this.#candidate(child, depth)));
    const chosen = new Set(this.#select(candidates));
    const taken = candidates.filter((one) => one.platform === undefined || chosen.has(one));
    const nodes = (await Promise.all(taken.map((one) => one.take()))).flat();
    nodes.push(...(await this.#attestationsOf(nodes, known)));
    return {
      nodes: nodes.length === 0 ? [] : [index, ...nodes],
      available: candidates.flatMap((one) => one.available),
    };
  }

  /** With `referrers`, those in the index that are of what is taken of it. */
  async #attestationsOf(nodes: Node[], children: Descriptor[]): Promise<Node[]> {
    if (!this.#referrers || this.#wanted === "all") return [];
    const taken = new Set<string>(nodes.map(({ digest }) => digest));
    const wanted = children.filter(
      (child) => isAttestation(child) && taken.has(child.annotations?.[attestationSubject] ?? ""),
    );
    return await Promise.all(wanted.map((child) => this.#fetch(child)));
  }

  /** A child that no registry serves is left out, if it would be taken; the index stays as it is. */
  #isServed(child: Descriptor): boolean {
    const { digest, mediaType, platform } = child;
    const kind = manifestKind(mediaType);
    if (kind === "image" || kind === "index") return true;
    const isWanted = platform === undefined || this.#select([{ platform }]).length > 0;
    if (isWanted) this.#leftOut.set(digest, notServed(digest, mediaType));
    return false;
  }

  /** Those of a platform that is wanted. */
  #select<T extends { platform?: Platform | undefined }>(from: readonly T[]): readonly T[] {
    if (this.#wanted === "all") return from;
    return this.#wanted.flatMap((wanted) => selectPlatform(from, ({ platform }) => platform, wanted));
  }

  /** Only what the index does not tell the platform of is fetched to find out. */
  async #candidate(child: Descriptor, depth: number): Promise<Candidate> {
    const { platform } = child;
    if (platform !== undefined) {
      const available = isUnknownPlatform(platform) ? [] : [platform];
      return { platform, available, take: async () => this.#below(await this.#fetch(child), depth) };
    }
    const node = await this.#fetch(child);
    if (node.parsed.kind === "index") {
      const { nodes, available } = await this.#selectFrom(node, depth + 1);
      return { available, take: async () => nodes };
    }
    const available = node.platform === undefined ? [] : [node.platform];
    return { platform: node.platform, available, take: async () => [node] };
  }

  /** An index that an index gives a platform to. */
  async #below(node: Node, depth: number): Promise<Node[]> {
    return node.parsed.kind === "index" ? (await this.#selectFrom(node, depth + 1)).nodes : [node];
  }

  async #fetch(child: Descriptor): Promise<Node> {
    const fetched = await this.#client.manifest(this.#reference, child.digest);
    const got = fetched.bytes.length;
    if (got === child.size) return await this.#read(fetched, child);
    throw new DrydockError(
      "integrity",
      `resolve ${this.#name}: ${child.digest} has ${got} bytes, its index says ${child.size}`,
    );
  }

  async #read(fetched: FetchedManifest, child?: Descriptor): Promise<Node> {
    const { digest, bytes } = fetched;
    const parsed = parseImageManifest(bytes, fetched.mediaType, `${this.#name} (${digest})`);
    const { mediaType, kind } = parsed;
    if (kind === "schema1" || kind === "unknown") throw this.#notCarried(kind, mediaType, digest);
    if (child !== undefined && child.mediaType !== mediaType) {
      throw new DrydockError(
        "integrity",
        `resolve ${this.#name}: ${digest} is ${JSON.stringify(mediaType)}, its index says ${JSON.stringify(child.mediaType)}`,
      );
    }
    const platform = child?.platform ?? (await this.#platformFromConfig(parsed));
    const known = platform !== undefined && !isUnknownPlatform(platform);
    return { digest, bytes, mediaType, parsed, ...(known ? { platform } : {}) };
  }

  async #platformFromConfig({ config, isArtifact }: ImageManifest): Promise<Platform | undefined> {
    if (config === undefined || isArtifact) return undefined;
    const bytes = await this.#client.smallBlob(this.#reference, config);
    return platformOf(parseImageConfig(bytes, `${this.#name} config ${config.digest}`));
  }

  async #blobsOf(nodes: Node[]): Promise<Descriptor[]> {
    const all = nodes.flatMap(({ parsed }) => parsed.blobs);
    const blobs = uniqueByDigest(all);
    const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
    for (const { digest, size } of all) {
      if (sizes.get(digest) === size) continue;
      throw new DrydockError(
        "integrity",
        `resolve ${this.#name}: blob ${digest} is listed with ${sizes.get(digest)} bytes and with ${size}`,
      );
    }
    const held = await Promise.all(
      blobs.map(({ urls, digest }) => urls === undefined || this.#client.hasBlob(this.#reference, digest)),
    );
    for (const [at, { digest }] of blobs.entries()) if (!held[at]) this.#leftOut.set(digest, foreign(digest));
    return blobs.filter((_, at) => held[at]);
  }

  /** An artifact lacks nothing. */
  #missing(taken: Platform[]): string[] {
    if (this.#wanted === "all" || taken.length === 0) return [];
    return this.#wanted
      .filter((wanted) => selectPlatform(taken, (have) => have, wanted).length === 0)
      .map(formatPlatform);
  }

  #nothingTaken(available: Platform[], isIndex: boolean): DrydockError {
    const wanted = this.#wanted === "all" ? "an image" : this.#wanted.map(formatPlatform).join(", ");
    const [leftOut] = this.#leftOut.values();
    const rest = leftOut === undefined ? "nothing" : `${leftOut.what}, and ${leftOut.why}`;
    const there = namesOf(available).join(", ") || rest;
    const what = isIndex ? "its image index names" : "it is for";
    return new DrydockError("upstream", `resolve ${this.#name}: wanted ${wanted}, but ${what} ${there}`, {
      hint: available.length === 0 ? undefined : "Ask for one of those with `platforms`.",
    });
  }

  /** A registry 2.8 answers 500 for a media type it does not know, and can't hold schema 1 as it was. */
  #notCarried(kind: "schema1" | "unknown", mediaType: string, digest: Digest): DrydockError {
    const old = kind === "schema1";
    const why = old
      ? "Docker's schema 1, which can't be carried"
      : "no image manifest that a registry serves";
    return new DrydockError(
      "upstream",
      `resolve ${this.#name}: ${digest} is ${JSON.stringify(mediaType)}, ${why}`,
      {
        hint: old
          ? "Push the image again with a newer Docker, or take a newer tag."
          : "If it is a child of an image index, name the platforms you need instead of all.",
      },
    );
  }
}

/** Its URL is never asked: whoever made the image manifest chose it. */
function foreign(digest: Digest): LeftOut {
  const why =
    "it is foreign: the registry does not hold it, and whoever pulls the image asks the layer's own URL";
  return { what: `layer ${digest}`, why };
}

function isAttestation(child: Descriptor): boolean {
  const marked = child.annotations?.[attestationMark] !== undefined;
  return marked || (child.platform !== undefined && isUnknownPlatform(child.platform));
}

function namesOf(platforms: Platform[]): string[] {
  return [...new Set(platforms.map(formatPlatform))].sort();
}

/** The first of each digest, in order. */
export function uniqueByDigest<T extends { digest: Digest }>(items: readonly T[]): T[] {
  const seen = new Set<Digest>();
  return items.filter(({ digest }) => !seen.has(digest) && seen.add(digest));
}
