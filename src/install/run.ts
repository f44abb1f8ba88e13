/**
 * The step "run": the container `registry` serves the site. It is made, started, or replaced where it
 * differs from what it should be; else nothing happens.
 *
 * Replacing keeps the old container, stopped and renamed to `registry-previous`, until the new one has
 * answered; if it doesn't, the old one is put back and serves on. A run that was killed in between leaves
 * `registry-previous` or `registry-next` behind, and the next run cleans up. One that was taken over is kept
 * for good, as `registry-adopted`.
 */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import {
  createContainer,
  inspectContainer,
  lastOutput,
  removeContainer,
  renameContainer,
  startContainer,
  stopContainer,
} from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import { DrydockError, errorText } from "../errors.ts";
import { digestOf } from "../oci/digest.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import { restoreAdopted, retireAdopted } from "./adopted-container.ts";
import { askRegistry, servedCertificate } from "./registry-client.ts";
import {
  adoptedName,
  containerName,
  containerOptions,
  difference,
  isOurs,
  nextName,
  previousName,
  type RegistrySettings,
} from "./registry-container.ts";
import { isEnforcing } from "./selinux.ts";

export interface RunResult {
  changed: boolean;
  /** what was done, for people: "made", "started", "replaced: another certificate" */
  why?: string;
  containerId: string;
}

export interface RunOptions extends Omit<RegistrySettings, "certificate" | "relabel"> {
  /** how long a registry may take until it answers; 30 if left out */
  patienceSeconds?: number;
  /** somebody else's container that this one takes the place of: it is kept as `registry-adopted` */
  adopted?: AdoptedContainer;
}

/** What is done where a registry is taken over, for people. */
export const takesPlace = `made; the one before it is kept as "${adoptedName}"`;

interface Work {
  engine: Engine;
  adopted: AdoptedContainer | undefined;
  settings: RegistrySettings;
  ca: Buffer;
  patienceSeconds: number;
}

/**
 * Lets the registry serve the site; it answers over TLS when this returns. Certificates, key and storage
 * must be in their places.
 * @throws DrydockError "preflight" if somebody else's container has the name; "host" if the registry does
 * not come up (with its last output), after the old one was put back.
 */
export async function runRegistry(engine: Engine, options: RunOptions): Promise<RunResult> {
  const { layout } = options;
  const certificate = digestOf(await readFile(layout.serverCertificate));
  const work: Work = {
    engine,
    adopted: options.adopted,
    settings: { ...options, certificate, relabel: await isEnforcing() },
    ca: await readFile(layout.caCertificate),
    patienceSeconds: options.patienceSeconds ?? 30,
  };
  await removeLeftover(work, nextName);
  const current = await ourContainer(work, containerName);
  if (current === undefined) return await replace(work, options.adopted ? takesPlace : "made");
  if (current.Id === options.adopted?.id) return await replace(work, takesPlace);
  const differs = difference(current, work.settings);
  if (differs !== undefined) return await replace(work, `replaced: ${differs}`);

  const old = await oldContainer(work);
  // A killed run: nobody has seen yet whether the new one serves. With the other one stopped, see now.
  if (old !== undefined) await stopContainer(engine, old);
  const isStale = await hasOtherCertificate(work);
  const changed = !current.State.Running || current.State.Restarting || isStale;
  try {
    // The engine waits longer and longer between its own tries: begin anew.
    if (current.State.Restarting || isStale) await stopContainer(engine, containerName);
    await startContainer(engine, containerName);
    await serves(work);
  } catch (error) {
    return await failed(work, current.Id, error, old);
  }
  await dismissOld(work);
  const why = isStale ? "restarted: it had loaded another certificate" : "started";
  return { changed, ...(changed ? { why } : {}), containerId: current.Id };
}

/**
 * Whether the registry answers with another certificate than the one in its file: it was started, by the engine
 * itself maybe, while another one stood there, and loads it once.
 */
async function hasOtherCertificate({ settings }: Work): Promise<boolean> {
  const served = await servedCertificate(settings.port);
  const file = new X509Certificate(await readFile(settings.layout.serverCertificate));
  return served !== undefined && !served.equals(file.raw);
}

async function replace(work: Work, why: string): Promise<RunResult> {
  const { engine, settings, adopted } = work;
  const containerId = await createContainer(engine, { name: nextName, ...containerOptions(settings) });
  let old = await oldContainer(work);
  try {
    const current = await ourContainer(work, containerName);
    if (current !== undefined) {
      const [name, before] = [current.Id === adopted?.id ? adoptedName : previousName, old];
      old ??= current.Id;
      await stopContainer(engine, current.Id);
      // Beside an old one this one was never seen serving: the other is what to go back to.
      if (before !== undefined && before !== current.Id) await removeContainer(engine, current.Id);
      else await renameContainer(engine, current.Id, name);
    }
    if (old !== undefined) await stopContainer(engine, old);
    await renameContainer(engine, nextName, containerName);
    await startContainer(engine, containerName);
    await serves(work);
  } catch (error) {
    return await failed(work, containerId, error, old);
  }
  await dismissOld(work);
  return { changed: true, why, containerId };
}

/** The id of the one to go back to if the new one does not serve: our earlier one, else the one taken over. */
async function oldContainer(work: Work): Promise<string | undefined> {
  const ours = await ourContainer(work, previousName);
  if (ours !== undefined || work.adopted === undefined) return ours?.Id;
  return (await inspectContainer(work.engine, work.adopted.id))?.Id;
}

/** The new one was seen serving. Ours is removed, and the one that was taken over is kept. */
async function dismissOld(work: Work): Promise<void> {
  await removeLeftover(work, previousName);
  if (work.adopted !== undefined) await retireAdopted(work.engine, work.adopted);
}

/** Puts the old container back, if there is one, and says why the new one doesn't serve. */
async function failed(
  work: Work,
  containerId: string,
  error: unknown,
  old: string | undefined,
): Promise<never> {
  const output = await lastOutput(work.engine, containerId);
  const after = old === undefined ? "" : await restore(work, containerId, old);
  const said = output === "" ? "" : `\nIts last output:\n${output}`;
  throw new DrydockError("host", `start the registry: ${errorText(error)}${after}${said}`, {
    hint: old === undefined ? `docker logs ${containerName} shows all its output.` : undefined,
    cause: error,
  });
}

/** @returns what came of it, to be added to an error's text */
async function restore(work: Work, newId: string, old: string): Promise<string> {
  const { engine, adopted } = work;
  try {
    await removeContainer(engine, newId);
    if (old === adopted?.id) {
      await restoreAdopted(engine, adopted);
      return adopted.running ? "; the one before it is started again" : "; the one before it is put back";
    }
    // It may have failed before the old one was renamed.
    if ((await ourContainer(work, previousName)) !== undefined) {
      await renameContainer(engine, previousName, containerName);
    }
    await startContainer(engine, containerName);
    return "; the one before it is started again";
  } catch (error) {
    return `; the one before it could not be put back: ${errorText(error)}`;
  }
}

/** Waits until the registry answers over TLS, or has ended twice, or patience is over. */
async function serves(work: Work): Promise<void> {
  const deadline = performance.now() + work.patienceSeconds * 1000;
  const { port } = work.settings;
  const before = (await inspectContainer(work.engine, containerName))?.RestartCount ?? 0;
  for (;;) {
    let reason: string;
    try {
      // With its names and addresses the step "prove" is concerned.
      await askRegistry({ ca: work.ca, connect: "127.0.0.1", port, checkName: false });
      return;
    } catch (error) {
      reason = errorText(error);
    }
    const info = await inspectContainer(work.engine, containerName);
    if (info === undefined) throw new Error("its container was removed");
    if (info.RestartCount >= before + 2)
      throw new Error(`it ends with code ${info.State.ExitCode} again and again`);
    if (performance.now() > deadline)
      throw new Error(`no answer within ${work.patienceSeconds} s: ${reason}`);
    await sleep(100);
  }
}

async function ourContainer(work: Work, name: string) {
  const info = await inspectContainer(work.engine, name);
  if (info === undefined || isOurs(info, work.settings.layout)) return info;
  if (name === containerName && info.Id === work.adopted?.id) return info;
  throw new DrydockError("preflight", `container "${name}" is there and is not of this site`, {
    hint: `Rename or remove it (docker rename ${name} …), then run the same command again.`,
  });
}

async function removeLeftover(work: Work, name: string): Promise<void> {
  if ((await ourContainer(work, name)) !== undefined) await removeContainer(work.engine, name);
}
