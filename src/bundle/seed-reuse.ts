/** A seed that an earlier bundle holds: neither downloaded nor scanned again when its sha256 is the same. */
import type { BundleSeed } from "../archive/bundle-index.ts";
import { readImageNames } from "../archive/oci-layout.ts";
import type { Bundle } from "../archive/reader.ts";
import { type Content, siteName } from "./content.ts";
import { planSeed, type SeedOptions, type SeedRequest } from "./seed-source.ts";

/**
 * The seed's content out of an earlier bundle's index, if one of them holds it in the way that is wanted.
 * Its blobs are taken from that bundle when the archive is written, like any others; those that turn out
 * to be damaged there come from the seed itself.
 */
export function reusedSeed(
  request: SeedRequest,
  reusable: readonly Bundle[],
  options: SeedOptions,
): Content | undefined {
  for (const bundle of reusable) {
    const seed = bundle.index.seeds.find(({ sha256 }) => sha256 === request.sha256);
    if (!seed || (seed.incomplete && !options.allowIncomplete)) continue;
    if ((request.keep ?? wayOf(seed)) !== wayOf(seed)) continue;
    return contentOf(seed, bundle, request, options);
  }
  return undefined;
}

function wayOf({ packed }: BundleSeed): "packed" | "unpacked" {
  return packed ? "packed" : "unpacked";
}

function contentOf(seed: BundleSeed, bundle: Bundle, request: SeedRequest, options: SeedOptions): Content {
  const { blobs } = bundle.index;
  const used = new Set(
    Object.values(seed.repositories).flatMap(({ revisions, layers }) => [...revisions, ...layers]),
  );
  const own = seed.packed
    ? [{ digest: `sha256:${seed.sha256}` as const, size: seed.size, role: "seed" as const }]
    : blobs.filter(({ digest }) => used.has(digest)).map((blob) => ({ ...blob, role: "image" as const }));
  return {
    name: request.source,
    blobs: own,
    repositories: seed.repositories,
    seed,
    names: seed.packed ? [] : namesOf(seed, bundle),
    async fill(sink) {
      if (!own.some(({ digest }) => sink.wants(digest))) return;
      const fresh = await planSeed({ ...request, keep: wayOf(seed) }, options);
      await fresh.fill(sink);
    },
  };
}

/** In the order in which the seed itself would list them. */
function namesOf({ repositories }: BundleSeed, bundle: Bundle): Content["names"] & object {
  const known = new Map(readImageNames(bundle.ociIndexBytes).map((one) => [one.name, one]));
  return Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.entries(tags).flatMap(([tag, digest]) => known.get(siteName(repository, tag, digest)) ?? []),
  );
}
