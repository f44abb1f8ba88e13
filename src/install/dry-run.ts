/** `drydock install --dry-run`: what an install would find and do. Writes nothing, not even a folder. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { tagLinks } from "../archive/contents.ts";
import type { Bundle } from "../archive/reader.ts";
import { type ContainerInfo, inspectContainer } from "../engine/container.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Reporter } from "../reporter.ts";
import { setDigest } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { type CertificatePlan, plannedFiles } from "./certificates.ts";
import { expectedImage } from "./expected-image.ts";
import type { Finding } from "./finding.ts";
import type { InstallOptions } from "./install.ts";
import { readTags } from "./link.ts";
import type { Amount, Placement } from "./place.ts";
import { type Prepared, prepare, withBundle } from "./prepare.ts";
import { containerName, difference, isOurs } from "./registry-container.ts";
import { isServing, takesPlace } from "./run-cast.ts";
import { isEnforcing } from "./selinux.ts";
import { registryImageFor } from "./serve.ts";

export interface InstallPlan {
  /** the site's directory */
  site: string;
  /** the bundle's, 64 digits */
  digest: string;
  /** absent at a site's first install */
  from?: { name: string; release: number };
  to: { name: string; release: number };
  /** what the bundle holds for the site, and what of it is there already */
  blobs: { total: Amount; there: Amount; place: Amount };
  tags: { total: number; moves: TagMove[] };
  certificates: CertificatePlan["action"];
  /** what would be done to the container `registry`; undefined if the engine doesn't say */
  container?: string;
  /** names and IP addresses that clients use, the registry's name first */
  addresses: string[];
  port: number;
  access: "read-only" | "push";
}

export interface TagMove {
  repository: string;
  tag: string;
  /** absent if the tag is new */
  from?: Digest;
  to: Digest;
}

export interface InstallDryRun {
  dryRun: true;
  /** all that preflight found, errors too */
  findings: Finding[];
  plan: InstallPlan;
}

/** @throws DrydockError as install(), but not for what preflight finds: that is in the result. */
export async function dryRun(options: InstallOptions, reporter: Reporter): Promise<InstallDryRun> {
  return await withBundle(options, reporter, async (bundle, layout) => {
    const prepared = await prepare(bundle, layout, options, reporter);
    return { dryRun: true, findings: prepared.findings, plan: await planOf(bundle, layout, prepared) };
  });
}

async function planOf(bundle: Bundle, layout: SiteLayout, prepared: Prepared): Promise<InstallPlan> {
  const { index, digest } = bundle;
  const { served, settings, certificates, placement } = prepared;
  const container = await containerPlan(bundle, layout, prepared);
  return {
    site: layout.root,
    digest,
    ...(served && { from: { name: served.name, release: served.release } }),
    to: { name: index.name, release: index.release },
    blobs: amounts(placement),
    tags: { total: [...tagLinks(index)].length, moves: await tagMoves(index, layout) },
    certificates: certificates.action,
    ...(container === undefined ? {} : { container }),
    ...settings,
  };
}

function amounts({ total, needed: place }: Placement): InstallPlan["blobs"] {
  const there = { blobs: total.blobs - place.blobs, bytes: total.bytes - place.bytes };
  return { total, there, place };
}

async function tagMoves(index: BundleIndex, layout: SiteLayout): Promise<TagMove[]> {
  const now = await readTags(index, layout);
  return [...tagLinks(index)].flatMap(({ repository, tag, digest }) => {
    const from = now[repository]?.[tag];
    if (from === digest) return [];
    return [{ repository, tag, ...(from === undefined ? {} : { from }), to: digest }];
  });
}

/** In the words of the step "run". */
async function containerPlan(
  bundle: Bundle,
  layout: SiteLayout,
  { engine, settings, certificates, adoption }: Prepared,
): Promise<string | undefined> {
  try {
    const info = await inspectContainer(engine, containerName);
    if (info === undefined || !isOurs(info, layout)) return adoption?.record.container ? takesPlace : "made";
    const image = await registryImageFor(bundle.index, engine);
    const expected = await expectedImage(engine, bundle, layout, image);
    const why =
      certificates.action === "keep"
        ? await differenceOf(info, layout, settings, certificates, expected)
        : "another certificate";
    if (why !== undefined) return `replaced: ${why}`;
    return isServing(info) ? "unchanged" : "started";
  } catch (error) {
    // That the engine doesn't answer, or has no image for it, is a finding already.
    if (error instanceof DrydockError) return undefined;
    throw error;
  }
}

async function differenceOf(
  info: ContainerInfo,
  layout: SiteLayout,
  { port, access }: Prepared["settings"],
  plan: CertificatePlan,
  image = "one that is not known yet",
): Promise<string | undefined> {
  const certificates = setDigest(await plannedFiles(plan));
  const relabel = await isEnforcing();
  return difference(info, { layout, port, access, imageId: image, certificates, relabel });
}
