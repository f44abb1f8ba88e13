/**
 * The step "run": the container `registry` serves the site. It is made, started, or another takes its place
 * where it differs from what it should be; else nothing happens.
 *
 * The new one is made beforehand, so between the old one's stop and its start there is nothing else. The old one
 * stays, stopped, as `registry-previous`, until the caller says that all is complete: it can be put back at any
 * moment, and until the new one is proven it is the one that the engine starts after a power cut. A run that was
 * killed leaves it, or `registry-next`, behind; the next run goes on with what is there, and cleans up. One that
 * was taken over is kept for good, as `registry-adopted`.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import {
  createContainer,
  inspectContainer,
  lastOutput,
  removeContainer,
  setRestartPolicy,
  startContainer,
  stopContainer,
} from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import { DrydockError, errorText } from "../errors.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import { uninterrupted } from "../uninterrupted.ts";
import { retireAdopted } from "./adopted-container.ts";
import { checkPort } from "./preflight-host.ts";
import { askRegistry } from "./registry-client.ts";
import { containerOptions, nextName, type RegistrySettings } from "./registry-container.ts";
import { type Cast, findCast, giveNames, putOldBack } from "./run-cast.ts";
import { isEnforcing } from "./selinux.ts";

export interface RunResult {
  changed: boolean;
  /** what was done, for people: "made", "started", "replaced: another certificate" */
  why?: string;
  containerId: string;
  /** It was proven: the engine starts it when it starts itself, and no longer the one before. */
  settle(): Promise<void>;
  /** All is complete: the one before goes; one that was taken over stays. */
  dismissOld(): Promise<void>;
  /** The one before serves again. @returns what came of it, to be added to an error's text */
  putBack(): Promise<string>;
}

export interface RunOptions extends Omit<RegistrySettings, "relabel"> {
  /** how long a registry may take until it answers; 30 if left out */
  patienceSeconds?: number;
  /** somebody else's container that this one takes the place of: it is kept as `registry-adopted` */
  adopted?: AdoptedContainer;
  /** gives the command that takes another port */
  portCommand?: ((port: number) => string) | undefined;
}

interface Work {
  engine: Engine;
  settings: RegistrySettings;
  ca: Buffer;
  patienceSeconds: number;
}

/**
 * Lets the registry serve the site; it answers over TLS when this returns. Its certificates must be kept, and
 * the storage in its place.
 * @throws DrydockError "preflight" if somebody else's container has the name; "host" if the registry does
 * not come up (with its last output), after the old one was put back.
 */
export async function runRegistry(engine: Engine, options: RunOptions): Promise<RunResult> {
  const { adopted, patienceSeconds = 30, portCommand, ...rest } = options;
  const settings = { ...rest, relabel: await isEnforcing() };
  const ca = await readFile(settings.layout.certificateSet(settings.certificates).caCertificate);
  const work = { engine, settings, ca, patienceSeconds };
  const cast = await findCast(engine, settings, adopted);
  const { why, old } = cast;
  const id =
    cast.fit?.Id ?? (await createContainer(engine, { name: nextName, ...containerOptions(settings) }));
  try {
    await takeOver(work, id, cast);
  } catch (error) {
    throw await startFailure(error, await putBack(engine, id, cast), work, old?.id, portCommand);
  }
  const alive = cast.fit?.HostConfig.RestartPolicy?.Name === "always";
  return {
    changed: why !== undefined,
    ...(why === undefined ? {} : { why }),
    containerId: id,
    settle: async () => {
      if (!alive) await setRestartPolicy(engine, id, { Name: "always" });
      if (old?.adopted) await retireAdopted(engine, old.adopted);
      else if (old) await setRestartPolicy(engine, old.id, { Name: "no" });
    },
    dismissOld: async () => {
      if (old && !old.adopted) await removeContainer(engine, old.id);
    },
    putBack: () => putBack(engine, id, cast),
  };
}

/** It serves when this returns, and no other of the site's does. */
async function takeOver(work: Work, id: string, { fit, old, others }: Cast): Promise<void> {
  const { engine } = work;
  // The engine waits longer and longer between its own tries, and starts none that is paused: begin anew.
  if (fit?.State.Restarting || fit?.State.Paused) await stopContainer(engine, id);
  if (old && old.adopted?.running !== false) await setRestartPolicy(engine, old.id, { Name: "always" });
  await uninterrupted(async () => {
    for (const other of [...(old ? [old.id] : []), ...others]) await stopContainer(engine, other);
    await startContainer(engine, id);
  });
  await serves(work, id);
  for (const other of others) await removeContainer(engine, other);
  await giveNames(engine, id, old);
}

/**
 * Goes back to the old one, if there is one. One that was made is removed, having said its last.
 * @returns what came of it, to be added to an error's text
 */
async function putBack(engine: Engine, id: string, { fit, old, others }: Cast): Promise<string> {
  if (fit && !old) return "";
  const output = await lastOutput(engine, id);
  const said = output === "" ? "" : `\nIts last output:\n${output}`;
  try {
    await removeContainer(engine, id);
    if (!old) return said;
    for (const other of others) await removeContainer(engine, other);
    return `${await putOldBack(engine, old)}${said}`;
  } catch (error) {
    return `; the one before it could not be put back: ${errorText(error)}${said}`;
  }
}

/** @param after what came of putting the old one back */
async function startFailure(
  error: unknown,
  after: string,
  { engine, settings }: Work,
  old: string | undefined,
  portCommand: RunOptions["portCommand"],
): Promise<DrydockError> {
  const { layout, port } = settings;
  const taken = await checkPort(engine, layout, port, portCommand, old)
    .then((findings) => findings.find(({ level }) => level === "error"))
    .catch(() => undefined);
  const [reason, hint] = taken
    ? [`port ${taken.text}`, taken.hint]
    : [errorText(error), error instanceof DrydockError ? error.hint : undefined];
  return new DrydockError("host", `start the registry: ${reason}${after}`, { hint, cause: error });
}

/** Waits until the registry answers over TLS, or has ended, or patience is over. */
async function serves({ engine, settings, ca, patienceSeconds }: Work, id: string): Promise<void> {
  const deadline = performance.now() + patienceSeconds * 1000;
  const { port } = settings;
  const before = (await inspectContainer(engine, id))?.RestartCount ?? 0;
  for (;;) {
    let reason: string;
    try {
      // With its names and addresses the step "prove" is concerned.
      await askRegistry({ ca, connect: "127.0.0.1", port, checkName: false });
      return;
    } catch (error) {
      reason = errorText(error);
    }
    const info = await inspectContainer(engine, id);
    if (info === undefined) throw new Error("its container was removed");
    const { Running, Restarting, ExitCode } = info.State;
    if (!Running && !Restarting) throw new Error(`it ended with code ${ExitCode}`);
    if (info.RestartCount >= before + 2) throw new Error(`it ends with code ${ExitCode} again and again`);
    if (performance.now() > deadline) throw new Error(`no answer within ${patienceSeconds} s: ${reason}`);
    await sleep(100);
  }
}
