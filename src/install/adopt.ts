/**
 * `drydock install --adopt`: what is there of a registry that was set up by hand, or of one that drydock
 * left, and what taking it over means. The container is kept, stopped, under another name; certificates and
 * content stay where they are; all that is needed to give it back is recorded before anything changes.
 */
import { readdir } from "node:fs/promises";
import { type ContainerInfo, inspectContainer } from "../engine/container.ts";
import { type Engine, engineFailure } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import { type AdoptedRecord, readAdopted, recordAdopted } from "../site/adopted.ts";
import { readJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { currentDigest, isClaimed, leftAt } from "../site/marker.ts";
import type { ServeSettings, SiteChoices } from "../site/record.ts";
import { type AdoptedCertificates, findCertificates } from "./adopt-certificates.ts";
import { adoptFinding, type LookedAt, lookAtContainer } from "./adopt-container.ts";
import { readAllTags } from "./all-tags.ts";
import type { FlagChanges } from "./command-to-type.ts";
import { type Finding, findingOf } from "./finding.ts";
import { minute } from "./preflight-system.ts";
import { adoptedName, containerName, isOurs, siteLabel } from "./registry-container.ts";
import { tagList } from "./tags.ts";

export interface Adoption {
  record: AdoptedRecord;
  /** an earlier try has recorded it and begun: the record stays as it is */
  begun: boolean;
  /** what stays as it was though the bundle says otherwise */
  choices: SiteChoices;
  certificates: AdoptedCertificates;
}

export interface AdoptionPlan {
  /** undefined if nothing is taken over, or it was taken over completely before */
  adoption?: Adoption;
  /** present if what was taken over is being given back: nothing can be installed before that is complete */
  returning?: AdoptedRecord;
  findings: Finding[];
}

export interface AdoptionInput {
  /** whether the user said --adopt; an adoption that has begun goes on without */
  adopt: boolean;
  /** what the bundle says */
  registry: Pick<ServeSettings, "port" | "access">;
  /** what the user says instead */
  choices: SiteChoices;
  newCertificates: boolean;
  command: (changes: FlagChanges) => string;
}

/** Writes nothing. What stands in the way is among the findings. @throws DrydockError "host" if a record cannot be read */
export async function planAdoption(
  engine: Engine,
  layout: SiteLayout,
  input: AdoptionInput,
): Promise<AdoptionPlan> {
  const recorded = await readAdopted(layout);
  if (recorded === undefined && !input.adopt) return { findings: [] };
  if (recorded?.returningSince !== undefined)
    return { returning: recorded, findings: [halfReturned(recorded.returningSince)] };
  try {
    const begun = recorded !== undefined && (await hasBegun(engine, layout, recorded));
    if (begun) return await goOn(engine, layout, recorded, input);
    return input.adopt ? await begin(engine, layout, input) : { findings: [] };
  } catch (error) {
    // That the engine doesn't answer is told by the check of the engine.
    if (error instanceof DrydockError) return { findings: await unlessEngineFails(engine, error) };
    throw error;
  }
}

/** Records what is there, unless that was done; the first write of an install that adopts. */
export async function beginAdoption(layout: SiteLayout, { record, begun }: Adoption): Promise<void> {
  if (!begun) await recordAdopted(layout, record);
}

/** Whether anything was changed since the record was written. */
async function hasBegun(engine: Engine, layout: SiteLayout, { container }: AdoptedRecord): Promise<boolean> {
  if (!(await isClaimed(layout))) return false;
  if ((await currentDigest(layout)) !== undefined || (await readJournal(layout)) !== undefined) return true;
  const now = await inspectContainer(engine, containerName);
  if (now !== undefined && isOurs(now, layout)) return true;
  return container !== undefined && now?.Id !== container.id;
}

async function goOn(
  engine: Engine,
  layout: SiteLayout,
  record: AdoptedRecord,
  input: AdoptionInput,
): Promise<AdoptionPlan> {
  const { container } = record;
  const complete = (await currentDigest(layout)) !== undefined;
  const named = await inspectContainer(engine, containerName);
  const back = container !== undefined && named?.Id === container.id;
  if (complete && !back) {
    const what = `the registry that was here was taken over on ${minute(new Date(record.adoptedAt))}`;
    return { findings: input.adopt ? [adoptFinding("ok", what)] : [] };
  }
  const info = container && (back ? named : await inspectContainer(engine, container.id));
  const looked: LookedAt | undefined = info
    ? await lookAtContainer(info, layout, input.command)
    : container && { container, otherPorts: [], findings: [] };
  const { choices, findings } = choose(looked, input);
  const certificates = await findCertificates(layout, container, input.newCertificates, input.command);
  const goesOn = adoptFinding("ok", "taking over the registry that is here was cut short: it goes on");
  return {
    adoption: { record, begun: true, choices, certificates },
    findings: [goesOn, ...findings, ...certificates.findings],
  };
}

async function begin(engine: Engine, layout: SiteLayout, input: AdoptionInput): Promise<AdoptionPlan> {
  const info = await inspectContainer(engine, containerName);
  const foreign = info !== undefined && info.Config.Labels?.[siteLabel] === undefined ? info : undefined;
  if ((await currentDigest(layout)) !== undefined) return { findings: [adoptFinding(...served(foreign))] };
  const claimed = await isClaimed(layout);
  if (foreign === undefined && (claimed || !(await holdsData(layout)))) {
    return { findings: [adoptFinding("ok", "there is nothing to take over")] };
  }
  const looked = foreign && (await lookAtContainer(foreign, layout, input.command));
  const names = [
    ...(foreign === undefined ? await checkOtherNames(engine, layout) : []),
    ...(await checkKeptName(engine)),
  ];
  const { choices, findings } = choose(looked, input);
  const certificates = await findCertificates(
    layout,
    looked?.container,
    input.newCertificates,
    input.command,
  );
  const tagsBefore = await readAllTags(layout);
  const leftBefore = await leftAt(layout);
  const record: AdoptedRecord = {
    adoptedAt: new Date().toISOString(),
    ...(leftBefore === undefined ? {} : { leftBefore }),
    ...(looked === undefined ? {} : { container: looked.container }),
    tagsBefore,
  };
  const repositories = Object.keys(tagsBefore).length;
  const content = `${layout.storage} stays, with ${count(tagList(tagsBefore).length, "tag", "tags")} in ${count(repositories, "repository", "repositories")}`;
  return {
    adoption: { record, begun: false, choices, certificates },
    findings: [
      containerText(looked),
      ...findings,
      ...names,
      ...certificates.findings,
      adoptFinding("ok", content),
    ],
  };
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

function served(foreign: ContainerInfo | undefined): ["ok" | "error", string, string?] {
  if (foreign === undefined) return ["ok", "there is nothing to take over: the site is drydock's"];
  const text = `releases of drydock's are here, and container "${containerName}" is not drydock's: it was made since`;
  return [
    "error",
    text,
    `Remove it, or rename it (docker rename ${containerName} …), and install without --adopt.`,
  ];
}

function containerText(looked: LookedAt | undefined): Finding {
  if (looked === undefined) {
    return adoptFinding("ok", `there is no container "${containerName}"; its directories are taken over`);
  }
  const { image, running, port, access } = looked.container;
  const how = [
    running ? "runs" : "is stopped",
    port === undefined ? "no port" : `port ${port}`,
    access === "push" ? "takes pushes" : "read-only",
  ].join(", ");
  return adoptFinding(
    "ok",
    `container "${containerName}" (image ${image}, ${how}) is replaced, and kept, stopped, as "${adoptedName}"; \`drydock rollback\` gives it back`,
  );
}

/** What clients notice stays as it is, unless the user says otherwise. */
function choose(
  looked: LookedAt | undefined,
  { registry, choices, command }: AdoptionInput,
): { choices: SiteChoices; findings: Finding[] } {
  if (looked === undefined) return { choices: {}, findings: [] };
  const { container, otherPorts, findings } = looked;
  const ports = [...(container.port === undefined ? [] : [container.port]), ...otherPorts];
  const all = [...findings];
  const kept: SiteChoices = {};
  const port = choices.port ?? (ports.includes(registry.port) ? registry.port : container.port);
  if (port === undefined) {
    const hint = `Say on which port it is to be served: \`${command({ port: registry.port })}\``;
    all.push(adoptFinding("error", `container "${containerName}" has no port of this host`, hint));
  } else if (choices.port === undefined && port !== registry.port) {
    kept.port = port;
    const hint = `Its clients know it there. To serve where the bundle says: \`${command({ port: registry.port })}\``;
    all.push(adoptFinding("warning", `it stays on port ${port}, and the bundle says ${registry.port}`, hint));
  }
  const lost = ports.filter((one) => one !== port);
  if (lost.length > 0) {
    const text = `it is reached on port ${lost.join(", ")}, too, and drydock's registry has one port alone: ${port}`;
    all.push(adoptFinding("warning", text, "Clients that use another one will notice."));
  }
  if (choices.access === undefined && container.access === "push" && registry.access === "read-only") {
    kept.access = "push";
    const hint = `Its clients may need that. To end it: \`${command({ access: "read-only" })}\``;
    const text = "whoever reaches it may push, as before, and the bundle says read-only";
    all.push(adoptFinding("warning", text, hint));
  }
  if (container.access === "read-only" && (choices.access ?? registry.access) === "push") {
    const hint = `To leave it read-only: \`${command({ access: "read-only" })}\``;
    all.push(adoptFinding("warning", "it is read-only, and will take pushes from whoever reaches it", hint));
  }
  return { choices: kept, findings: all };
}

/** Its future name may be somebody's. */
async function checkKeptName(engine: Engine): Promise<Finding[]> {
  if ((await inspectContainer(engine, adoptedName)) === undefined) return [];
  const text = `there is a container "${adoptedName}" already, and the one that is taken over is to be kept under that name`;
  return [
    adoptFinding(
      "error",
      text,
      `Rename it (docker rename ${adoptedName} …) or remove it, then run the same command.`,
    ),
  ];
}

/** A registry of another name on the same storage would go on beside drydock's. */
async function checkOtherNames(engine: Engine, layout: SiteLayout): Promise<Finding[]> {
  const all = await engine.docker.listContainers({ all: true }).catch((error) => {
    throw engineFailure("list containers", error);
  });
  const serves = all.filter(({ Mounts, Labels }) => {
    if (Labels?.[siteLabel] !== undefined) return false;
    return Mounts.some(({ Source }) => Source === layout.storage);
  });
  return serves.map(({ Names, Id }) => {
    const name = (Names[0] ?? Id).replace(/^\//, "");
    const text = `container "${name}" has ${layout.storage}, and its name is not "${containerName}"`;
    const hint = `If it is the registry that is to be taken over: \`docker rename ${name} ${containerName}\`, then run the same command. Else remove it.`;
    return adoptFinding("error", text, hint);
  });
}

function halfReturned(since: string): Finding {
  const text = `giving the registry back that was here before, of ${minute(new Date(since))}, was cut short`;
  return adoptFinding("error", text, "Complete it first: `drydock rollback`");
}

async function unlessEngineFails(engine: Engine, error: DrydockError): Promise<Finding[]> {
  const answers = await engine.describe().then(
    () => true,
    () => false,
  );
  return answers ? [findingOf(error, "adopt")] : [];
}

async function holdsData({ storage, certs, files }: SiteLayout): Promise<boolean> {
  const names = await Promise.all([storage, certs, files].map((path) => readdir(path).catch(() => [])));
  return names.flat().length > 0;
}
