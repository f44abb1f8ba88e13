/**
 * What refers to an image manifest (signatures, SBOMs, attestations), found by the API of the OCI
 * distribution specification ("Listing Referrers"), by its tag schema, and by cosign's own tags. A registry
 * 2.8 has no such API, so at the site all of it stands below tags.
 */
import pLimit from "p-limit";
import { DrydockError } from "../errors.ts";
import { type Digest, digestOf, hexOf } from "../oci/digest.ts";
import { type Descriptor, type ImageManifest, parseImageManifest } from "../oci/image-manifest.ts";
import { ociIndex } from "../oci/media-types.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { FetchedManifest, RegistryClient } from "../oci/registry-client.ts";

export interface LeftOut {
  /** an image manifest's digest, and what of */
  what: string;
  why: string;
}

export interface Referrer {
  digest: Digest;
  mediaType: string;
  bytes: Buffer;
  parsed: ImageManifest;
}

export interface Referrers {
  manifests: Referrer[];
  /** of the tag schema and of cosign: "sha256-…", "sha256-….sig" */
  tags: Record<string, Digest>;
  leftOut: LeftOut[];
}

/** A signature of an SBOM of an image is the third. */
const deepest = 3;
const most = 1000;
const atOnce = 4;
const cosignSuffixes = ["sig", "att", "sbom"];

/**
 * What refers to any of `subjects`, and what refers to that.
 * @throws DrydockError "upstream" as RegistryClient.find, or if there is no end to it; "integrity" if one has
 *   other bytes than are listed.
 */
export async function findReferrers(
  client: RegistryClient,
  reference: Reference,
  subjects: readonly Digest[],
): Promise<Referrers> {
  return await new ReferrersFinder(client, reference).find(subjects);
}

class ReferrersFinder {
  readonly #client: RegistryClient;
  readonly #reference: Reference;
  readonly #limit = pLimit(atOnce);
  readonly #found = new Map<Digest, Referrer>();
  readonly #tags: Record<string, Digest> = {};
  readonly #leftOut = new Map<Digest, LeftOut>();

  constructor(client: RegistryClient, reference: Reference) {
    this.#client = client;
    this.#reference = reference;
  }

  async find(subjects: readonly Digest[]): Promise<Referrers> {
    const asked = new Set<Digest>();
    let level = [...new Set(subjects)];
    for (let depth = 0; depth < deepest && level.length > 0; depth += 1) {
      for (const digest of level) asked.add(digest);
      const next = await Promise.all(level.map((subject) => this.#limit(() => this.#of(subject))));
      level = [...new Set(next.flat())].filter((digest) => !asked.has(digest));
    }
    const byDigest = (a: { digest: Digest }, b: { digest: Digest }) => (a.digest < b.digest ? -1 : 1);
    const tags = Object.entries(this.#tags).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      manifests: [...this.#found.values()].sort(byDigest),
      tags: Object.fromEntries(tags),
      leftOut: [...this.#leftOut.values()].sort((a, b) => (a.what < b.what ? -1 : 1)),
    };
  }

  /** @returns what refers to it directly */
  async #of(subject: Digest): Promise<Digest[]> {
    const tag = `sha256-${hexOf(subject)}`;
    const [listed, ...tagged] = await Promise.all([
      this.#listed(subject, tag),
      ...cosignSuffixes.map((suffix) => this.#tagged(`${tag}.${suffix}`)),
    ]);
    return [...listed, ...tagged.flat()];
  }

  async #listed(subject: Digest, tag: string): Promise<Digest[]> {
    const listed = await this.#client.referrers(this.#reference, subject);
    if (listed !== undefined) {
      const taken = await this.#takeAll(listed);
      if (taken.length > 0) this.#addTagged(tag, fallbackIndex(taken));
      return taken.map(({ digest }) => digest);
    }
    const fetched = await this.#client.find(this.#reference, tag);
    const index = fetched === undefined ? undefined : this.#parse(fetched);
    if (index?.parsed.kind !== "index") return [];
    this.#addTagged(tag, index);
    return (await this.#takeAll(index.parsed.children)).map(({ digest }) => digest);
  }

  async #tagged(tag: string): Promise<Digest[]> {
    const fetched = await this.#client.find(this.#reference, tag);
    const referrer = fetched === undefined ? undefined : this.#parse(fetched);
    if (referrer === undefined) return [];
    this.#addTagged(tag, referrer);
    await this.#takeAll(referrer.parsed.children);
    return [referrer.digest];
  }

  /** @returns the descriptors of those that are carried */
  async #takeAll(descriptors: readonly Descriptor[], depth = 0): Promise<Descriptor[]> {
    const taken: Descriptor[] = [];
    for (const one of descriptors) {
      if (depth < deepest && (await this.#take(one, depth))) taken.push(one);
    }
    return taken;
  }

  async #take(descriptor: Descriptor, depth: number): Promise<boolean> {
    const { digest, size } = descriptor;
    if (this.#found.has(digest)) return true;
    const fetched = await this.#client.find(this.#reference, digest);
    if (fetched === undefined) {
      this.#leftOut.set(digest, { what: `referrer ${digest}`, why: "it is listed, but not there" });
      return false;
    }
    if (fetched.bytes.length !== size) {
      throw new DrydockError(
        "integrity",
        `resolve ${this.#name}: referrer ${digest} has ${fetched.bytes.length} bytes, but is listed with ${size}`,
      );
    }
    const referrer = this.#parse(fetched);
    if (referrer === undefined) return false;
    this.#add(referrer);
    await this.#takeAll(referrer.parsed.children, depth + 1);
    return true;
  }

  /** undefined if a registry could not serve it: that is noted. */
  #parse({ digest, mediaType: said, bytes }: FetchedManifest): Referrer | undefined {
    const parsed = parseImageManifest(bytes, said, `${this.#name} (${digest})`);
    const { mediaType, kind } = parsed;
    if (kind === "image" || kind === "index") return { digest, mediaType, bytes, parsed };
    this.#leftOut.set(digest, notServed(`referrer ${digest}`, mediaType));
    return undefined;
  }

  #addTagged(tag: string, referrer: Referrer): void {
    this.#tags[tag] = referrer.digest;
    this.#add(referrer);
  }

  #add(referrer: Referrer): void {
    this.#found.set(referrer.digest, referrer);
    if (this.#found.size <= most) return;
    throw new DrydockError("upstream", `resolve ${this.#name}: over ${most} referrers`, {
      hint: "Leave `referrers` out for this image.",
    });
  }

  get #name(): string {
    return formatReference(this.#reference);
  }
}

/** Why an image manifest of that media type is not carried. */
export function notServed(what: string, mediaType: string): LeftOut {
  return { what, why: `a registry does not serve its media type ${JSON.stringify(mediaType)}` };
}

/** The index that the specification wants below the tag ("Referrers Tag Schema"), the same whatever the order. */
function fallbackIndex(descriptors: readonly Descriptor[]): Referrer {
  const manifests = descriptors
    .toSorted((a, b) => (a.digest < b.digest ? -1 : 1))
    .map(({ mediaType, digest, size, artifactType, annotations }) => ({
      mediaType,
      digest,
      size,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations: Object.fromEntries(sorted(annotations)) }),
    }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests }));
  const parsed = parseImageManifest(bytes, ociIndex, "an index of referrers");
  return { digest: digestOf(bytes), mediaType: ociIndex, bytes, parsed };
}

function sorted(record: Record<string, string>): [string, string][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
