/**
 * Which of the containers that are there is the registry as it should be, which is the one to go back to, and
 * which are in the way; and what they are called when it is settled who serves.
 */
import {
  type ContainerInfo,
  inspectContainer,
  renameContainer,
  setRestartPolicy,
  startContainer,
} from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import type { SiteLayout } from "../site/layout.ts";
import { restoreAdopted } from "./adopted-container.ts";
import {
  adoptedName,
  containerName,
  difference,
  isOurs,
  ownNames,
  previousName,
  type RegistrySettings,
} from "./registry-container.ts";

export interface Cast {
  /** as it should be, and there; undefined if it is to be made */
  fit: ContainerInfo | undefined;
  /** the one to go back to */
  old: Old | undefined;
  /** the ids of those that are in the way */
  others: string[];
  /** what will be done, for people; undefined if all is as it should be */
  why: string | undefined;
}

export interface Old {
  id: string;
  /** present if it is somebody else's */
  adopted?: AdoptedContainer;
}

/** What is done where a registry is taken over, for people. */
export const takesPlace = `made; the one before it is kept as "${adoptedName}"`;

/**
 * @param adopted somebody else's container that is being taken over
 * @throws DrydockError "preflight" if a container has one of the names that is neither of this site nor that one
 */
export async function findCast(
  engine: Engine,
  settings: RegistrySettings,
  adopted: AdoptedContainer | undefined,
): Promise<Cast> {
  const [current, previous, next] = await Promise.all(
    ownNames.map((name) => ourContainer(engine, settings.layout, name, adopted)),
  );
  const ours = [current, previous, next].filter((one) => one !== undefined);
  const theirs = adopted && (await inspectContainer(engine, adopted.id));
  const fit = ours.find((one) => difference(one, settings) === undefined);
  // Beside a previous one, the current one was not proven yet; neither is any of ours while one is taken over.
  const proven = theirs ?? previous ?? current;
  const old = proven === fit ? undefined : proven;
  return {
    fit,
    old: old && { id: old.Id, ...(old === theirs && adopted ? { adopted } : {}) },
    others: ours.filter((one) => one !== fit && one !== old).map(({ Id }) => Id),
    why: whatIsDone({ current, fit, takesOver: theirs !== undefined }, settings),
  };
}

function whatIsDone(
  found: { current: ContainerInfo | undefined; fit: ContainerInfo | undefined; takesOver: boolean },
  settings: RegistrySettings,
): string | undefined {
  const { current, fit, takesOver } = found;
  if (fit === undefined || fit !== current) {
    if (takesOver) return takesPlace;
    return current === undefined ? "made" : `replaced: ${difference(current, settings)}`;
  }
  if (!isServing(fit)) return "started";
  return fit.HostConfig.RestartPolicy?.Name === "always" ? undefined : "started with the engine from now on";
}

/** Whether it runs, as far as the engine can say. */
export function isServing({ State }: ContainerInfo): boolean {
  return State.Running && !State.Restarting && !State.Paused;
}

async function ourContainer(
  engine: Engine,
  layout: SiteLayout,
  name: string,
  adopted: AdoptedContainer | undefined,
): Promise<ContainerInfo | undefined> {
  const info = await inspectContainer(engine, name);
  if (info === undefined || info.Id === adopted?.id) return undefined;
  if (isOurs(info, layout)) return info;
  throw new DrydockError("preflight", `container "${name}" is there and is not of this site`, {
    hint: `Rename or remove it (docker rename ${name} …), then run the same command again.`,
  });
}

/** The one that serves gets the registry's name, the old one that of its kind; the others are gone. */
export async function giveNames(engine: Engine, id: string, old: Old | undefined): Promise<void> {
  if (old) await rename(engine, old.id, old.adopted ? adoptedName : previousName);
  await rename(engine, id, containerName);
}

/** It has the registry's name again, and serves. @returns what came of it, to be added to an error's text */
export async function putOldBack(engine: Engine, { id, adopted }: Old): Promise<string> {
  if (adopted) {
    await restoreAdopted(engine, adopted);
    return adopted.running ? "; the one before it is started again" : "; the one before it is put back";
  }
  await rename(engine, id, containerName);
  await setRestartPolicy(engine, id, { Name: "always" });
  await startContainer(engine, id);
  return "; the one before it is started again";
}

async function rename(engine: Engine, id: string, name: string): Promise<void> {
  const info = await inspectContainer(engine, id);
  if (info !== undefined && info.Name !== `/${name}`) await renameContainer(engine, id, name);
}
