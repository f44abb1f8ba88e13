/**
 * `drydock install`: the isolated side's pipeline, its steps in order. Each can be repeated: what is
 * there already is left as it is.
 */
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { tagLinks } from "../archive/contents.ts";
import type { Bundle } from "../archive/reader.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { makeFolder, writeDurably } from "../site/durable.ts";
import { type Journal, removeJournal } from "../site/journal.ts";
import { keepCertificates, readCertificates, showCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { claimSite } from "../site/marker.ts";
import { rememberSite, type ServeSettings, type SiteChoices } from "../site/record.ts";
import { freeReserve } from "../site/reserve.ts";
import { beginAdoption } from "./adopt.ts";
import { type AskPassphrase, type CertificatePlan, plannedFiles } from "./certificates.ts";
import { beginChange, putOthersBack } from "./change.ts";
import { fileList, filesOf, setFiles } from "./files.ts";
import { type Finding, failOnErrors } from "./finding.ts";
import { removeUnusedCertificates, removeUnusedFiles } from "./kept.ts";
import { removeLeftovers } from "./leftovers.ts";
import { type LinkResult, link } from "./link.ts";
import { type Amount, place } from "./place.ts";
import { type Prepared, prepare, withBundle } from "./prepare.ts";
import { type Proof, type ProofKind, prove } from "./prove.ts";
import { type PruneOptions, type PruneResult, pruneSite } from "./prune.ts";
import { writeReceipt } from "./receipt.ts";
import { completeRelease, differs, type NewRelease } from "./release.ts";
import type { RunResult } from "./run.ts";
import { registryImageFor, serveRelease } from "./serve.ts";
import { type TimedReporter, timedReporter } from "./step-times.ts";
import { undone } from "./undo.ts";

export interface InstallOptions {
  /** a path, or "-" for standard input */
  bundle: string;
  /** the digest that the bundle must have, with or without "sha256:" */
  digest?: string;
  /** the site's directory; what this host remembers, or the default, if left out */
  site?: string;
  /** what the user says here instead of what the bundle says */
  choices?: SiteChoices;
  /** make a new server certificate here, and a new CA unless the site's own can sign it */
  newCertificates?: boolean;
  /** how much is proven in the end: "tags" if left out */
  prove?: ProofKind;
  /** take over the registry that is there, set up by hand or left by drydock */
  adopt?: boolean;
  /** in the end, remove the releases that are not kept, and what only they use */
  prune?: Pick<PruneOptions, "keep">;
  /** take a bundle whose release is older than the one that is served under the same name */
  allowDowngrade?: boolean;
  /** asked for only if the bundle's key is encrypted and needed; a dry run does without */
  askPassphrase: AskPassphrase | undefined;
  /** Called with the registry's addresses before anything is written; throws if the clients' do not fit. */
  checkAddresses?: (addresses: string[]) => void;
  /** part of preflight: what is to be known of the clients at these addresses, of what the bundle brings for them */
  checkClients?: (addresses: string[], index: BundleIndex) => Promise<Finding[]>;
  /** Called with all that preflight found, before the first write, and before errors among it are thrown. */
  onFindings?: (findings: Finding[]) => void;
  /** the program, the command and its words, for hints that say what to type; plain ones if left out */
  typed?: readonly string[];
}

export interface InstallResult {
  /** the site's directory */
  site: string;
  /** the bundle's digest, 64 digits */
  digest: string;
  index: BundleIndex;
  settings: ServeSettings;
  /** whether anything was changed; if not, all of the bundle was installed and running */
  changed: boolean;
  /** what had to be written */
  placed: Amount;
  /** what all of the bundle takes here, with what was here already */
  total: Amount;
  /** how many tags moved */
  tagsMoved: number;
  certificates: CertificatePlan["action"];
  /** what was done to the registry's container, if anything */
  container?: string;
  /** present if a registry was taken over; whether its container is kept, to be given back */
  adopted?: { containerKept: boolean };
  proof: Proof;
  /** the path of the receipt's page */
  receipt: string;
  /** what went in the end, if that was wanted */
  pruned?: PruneResult;
  /** what preflight found */
  findings: Finding[];
}

/**
 * @throws DrydockError "integrity" (the archive is damaged or not the one asked for), "input" (no bundle,
 *   a wrong passphrase), "preflight" (all that stands in the way, before the first write), "host" (this
 *   host failed midway). Whatever happens, a registry that served before serves what it served.
 */
export async function install(options: InstallOptions, reporter: Reporter): Promise<InstallResult> {
  const timed = timedReporter(reporter);
  return await withBundle(options, timed, (bundle, layout) => installBundle(bundle, layout, options, timed));
}

async function installBundle(
  bundle: Bundle,
  layout: SiteLayout,
  options: InstallOptions,
  reporter: TimedReporter,
): Promise<InstallResult> {
  const { index } = bundle;
  const digest: Digest = `sha256:${bundle.digest}`;
  const prepared = await prepare(bundle, layout, options, reporter);
  const { settings, chosen, engine, placement, certificates, adoption, findings } = prepared;
  options.onFindings?.(findings);
  failOnErrors(findings);
  const registryImage = await registryImageFor(index, engine);

  if (adoption) await beginAdoption(layout, adoption);
  await claimSite(layout);
  await removeLeftovers(layout);
  await putOthersBack(engine, layout, { action: "install", bundleDigest: digest }, reporter);
  await runStep(reporter, "place", (step) => place(bundle, placement, layout, step));
  await keepIndex(bundle, layout, digest);
  const release: NewRelease = {
    ...{ index, digest, settings, chosen, registryImage, placed: placement.needed },
    certificates: await keepCertificates(layout, await plannedFiles(certificates)),
  };
  const { effect, links, run, proof } = await show(release, prepared, layout, options, reporter);
  await rememberSite(layout);
  await run.dismissOld();
  await removeJournal(layout);
  await removeUnusedCertificates(layout);
  await removeUnusedFiles(layout);
  const isInstalled = effect || links.links > 0;
  const done = {
    placed: placement.needed,
    total: placement.total,
    tagsMoved: links.tags,
    certificates: certificates.action,
    ...(run.why === undefined ? {} : { container: run.why }),
    ...(adoption && { adopted: { containerKept: adoption.record.container !== undefined } }),
  };
  const receipt = await writeReceipt({
    ...{ layout, index, bundleDigest: digest, settings, done, proof, changed: isInstalled, times: reporter },
  });
  const pruned = options.prune && (await pruneSite(layout, options.prune, reporter));
  return {
    ...{
      site: layout.root,
      digest: bundle.digest,
      index,
      settings,
      changed: isInstalled || run.changed,
      ...done,
      proof,
      receipt,
      ...(pruned && { pruned }),
      findings,
    },
  };
}

/**
 * The steps that change what is served, up to the moment in which the release is the current one. If one of them
 * fails, all is put back. certs/ comes last: until then, each container has its own.
 */
async function show(
  release: NewRelease,
  { engine, adoption, command }: Prepared,
  layout: SiteLayout,
  options: InstallOptions,
  reporter: Reporter,
): Promise<{ effect: boolean; links: LinkResult; run: RunResult; proof: Proof }> {
  const { index, digest, settings, registryImage, certificates } = release;
  const effect = await differs(layout, release);
  const journal = effect ? await beginInstall(release, layout, options.typed && command({})) : undefined;
  let run: RunResult | undefined;
  try {
    const links = await runStep(
      reporter,
      "link",
      async () => {
        const linked = await link(index, layout);
        await setFiles(fileList(filesOf(index)), layout);
        return linked;
      },
      ({ tags }) => `${tags} tag${tags === 1 ? "" : "s"} moved`,
    );
    const served = { bundleDigest: digest, registryImage, settings };
    const { container: adopted } = adoption?.record ?? {};
    run = await runStep(
      reporter,
      "run",
      () =>
        serveRelease(engine, layout, served, certificates, {
          ...(adopted && { adopted }),
          portCommand: (port) => command({ port }),
        }),
      ({ why }) => why ?? "unchanged",
    );
    const { addresses, port } = settings;
    const set = layout.certificateSet(certificates);
    const full = options.prove === "full" ? { full: index } : {};
    const ca = await readFile(set.caCertificate);
    const proof = await prove({ ca, addresses, port, repositories: index.repositories, ...full }, reporter);
    await run.settle();
    await freeReserve(layout);
    if (journal) {
      await showCertificates(await readCertificates(set), layout);
      await completeRelease(layout, release, journal);
    }
    return { effect, links, run, proof };
  } catch (error) {
    throw await undone(error, { engine, layout, journal, registry: run, again: command({}) });
  }
}

async function beginInstall(
  { index, digest, certificates }: NewRelease,
  layout: SiteLayout,
  command: string | undefined,
): Promise<Journal> {
  return await beginChange(layout, {
    ...{ action: "install", bundleDigest: digest, name: index.name, release: index.release },
    ...{ command, certificates, tags: [...tagLinks(index)], files: fileList(filesOf(index)) },
  });
}

/** Keeps the bundle index in the release's folder: with it the release can be put back without the stick. */
async function keepIndex(bundle: Bundle, layout: SiteLayout, digest: Digest): Promise<void> {
  const release = layout.release(digest);
  const kept = await readFile(release.bundleIndex).catch(() => undefined);
  if (kept?.equals(bundle.indexBytes)) return;
  await makeFolder(release.folder);
  await writeDurably(release.bundleIndex, bundle.indexBytes);
}
