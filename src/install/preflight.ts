/**
 * The step "preflight": whether the install can succeed, found out before the first write. Every check
 * gives its findings and none stops the others, so that one visit to the site is enough.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { containerBridges } from "../engine/bridges.ts";
import type { Engine, EngineDescription } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { AdoptedRecord } from "../site/adopted.ts";
import type { SiteLayout } from "../site/layout.ts";
import { configFolder, type ServeSettings } from "../site/record.ts";
import { commandToType, type FlagChanges } from "./command-to-type.ts";
import { type Finding, findingOf } from "./finding.ts";
import { checkAddresses } from "./preflight-addresses.ts";
import { checkEngine, describeEngine, engineSpace } from "./preflight-engine.ts";
import { checkFileSystem } from "./preflight-filesystem.ts";
import { checkContainer, checkPort } from "./preflight-host.ts";
import { checkContainersLeft, checkIncoming, checkJournal } from "./preflight-leftovers.ts";
import { checkDirectory, checkSpace, checkWritable } from "./preflight-site.ts";
import { checkClock, checkMemory, checkSelinux } from "./preflight-system.ts";
import type { SpaceNeeded } from "./space.ts";

export interface PreflightInput {
  index: Pick<BundleIndex, "addresses" | "registry" | "blobs" | "repositories" | "created" | "certificates">;
  /** the bundle's */
  digest: Digest;
  layout: SiteLayout;
  engine: Engine;
  settings: ServeSettings;
  /** whether its addresses were given now, instead of the bundle's */
  addressesChosen?: boolean;
  /** whether the engine has the registry's image, by its image manifest's digest */
  hasImage: (image: Digest) => Promise<boolean>;
  /** what is still to be written, by where it goes; paths need not exist yet */
  needed: SpaceNeeded[];
  /** the site's directory, if a release is served there */
  serving?: string | undefined;
  /** what will be done about certificates, and what is wrong with those that will be used */
  certificates: { makes: boolean; findings: Finding[] };
  /** of a registry that is taken over */
  adoption?: {
    record: AdoptedRecord | undefined;
    findings: Finding[];
    /** whether hints may say to type --adopt: it would help, and was not said */
    maySay: boolean;
  };
  /** of the release's number against the one that is served; see downgrade.ts */
  downgrade?: Finding[];
  /** of the clients, if any are listed */
  checkClients?: (() => Promise<Finding[]>) | undefined;
  /** the command's words as they were typed, for hints */
  typed: readonly string[];
  /** this host's clock */
  now: Date;
  /** of the host's own record; /etc/drydock if left out */
  configFolder?: string;
}

/** All findings: those that are well, then warnings, then errors. Writes nothing. */
export async function preflight(input: PreflightInput): Promise<Finding[]> {
  const { index, layout, settings, certificates } = input;
  const described = await describeEngine(input.engine);
  const folders = [layout.root, input.configFolder ?? configFolder(), layout.certs, layout.storage];
  const command = (changes: FlagChanges) => commandToType(input.typed, changes);
  const withPort = (port: number) => command({ port });
  const withAddresses = (addresses: string[]) =>
    command({ addresses, ...(index.certificates.from === "site" ? {} : { newCertificates: true }) });
  const toAdopt = input.adoption?.maySay === false ? undefined : command({ adopt: true });
  const checks: (Finding[] | Promise<Finding[]>)[] = [
    "platform" in described
      ? checkEngine(index, input.engine, described, { site: layout.root, port: settings.port }, withPort)
      : [described],
    ...("platform" in described
      ? atEngine(input, described, { withPort, toAdopt, atSite: (site) => command({ site }) })
      : [checkPort(undefined, layout, settings.port, withPort), checkSpace(input.needed, input.serving)]),
    checkDirectory(layout, toAdopt),
    checkWritable([...folders, layout.releases]),
    checkFileSystem(layout.storage, index),
    checkIncoming(layout),
    checkJournal(layout, input.digest),
    checkMemory(),
    checkSelinux(),
    checkClock(input.now, index.created, certificates.makes),
    containerBridges(input.engine).then((bridges) =>
      checkAddresses(settings.addresses, {
        ...{ bundled: index.addresses, areChosen: input.addressesChosen === true, bridges },
        command: withAddresses,
      }),
    ),
    certificates.findings,
    input.adoption?.findings ?? [],
    input.downgrade ?? [],
    input.checkClients?.() ?? [],
  ];
  const found = await Promise.all(checks.map(async (check) => await withoutThrowing(check)));
  const order: Finding["level"][] = ["ok", "warning", "error"];
  return found.flat().sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level));
}

/** The checks that need an engine that answers. */
function atEngine(
  { index, layout, engine, settings, hasImage, needed, serving, adoption }: PreflightInput,
  described: EngineDescription,
  commands: {
    withPort: (port: number) => string;
    toAdopt: string | undefined;
    atSite: (site: string) => string;
  },
): Promise<Finding[]>[] {
  const adopted = adoption?.record?.container?.id;
  const { withPort, toAdopt, atSite } = commands;
  return [
    checkContainer(engine, layout, { adopted, toAdopt, atSite }),
    checkContainersLeft(engine, layout),
    checkPort(engine, layout, settings.port, withPort, adopted),
    engineSpace(index, engine, described, hasImage).then((more) => checkSpace([...needed, ...more], serving)),
  ];
}

/** A check may fail in an expected way; that is a finding too, and a bug stays one. */
async function withoutThrowing(check: Finding[] | Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await check;
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    return [findingOf(error)];
  }
}
