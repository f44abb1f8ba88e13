/** The container that was there before drydock: out of the way, and back as it was. */
import {
  inspectContainer,
  renameContainer,
  setRestartPolicy,
  startContainer,
  stopContainer,
} from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import { containerName } from "./registry-container.ts";

/**
 * Another one serves in its place: it stays, stopped, and the engine does not start it with itself. Only now,
 * since until then it is the one that is to come back after a power cut.
 * @throws DrydockError "host", as all of these do
 */
export async function retireAdopted(engine: Engine, { id }: AdoptedContainer): Promise<void> {
  const info = await inspectContainer(engine, id);
  if (info === undefined) return;
  if (info.State.Running) await stopContainer(engine, id);
  const policy = info.HostConfig.RestartPolicy?.Name;
  if (policy !== undefined && policy !== "" && policy !== "no")
    await setRestartPolicy(engine, id, { Name: "no" });
}

/**
 * It has its name and restart policy again, and runs if it ran. The name must be free by then.
 * @returns whether it is there
 */
export async function restoreAdopted(
  engine: Engine,
  { id, running, restartPolicy }: AdoptedContainer,
): Promise<boolean> {
  const info = await inspectContainer(engine, id);
  if (info === undefined) return false;
  if (info.Name.replace(/^\//, "") !== containerName) await renameContainer(engine, id, containerName);
  if ((info.HostConfig.RestartPolicy?.Name || "no") !== restartPolicy.Name)
    await setRestartPolicy(engine, id, restartPolicy);
  if (running) await startContainer(engine, id);
  return true;
}
