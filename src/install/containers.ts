/** The site's own containers, under each of the names that the step "run" gives them. */
import { inspectContainer, removeContainer } from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import type { SiteLayout } from "../site/layout.ts";
import { containerName, isOurs, nextName, previousName } from "./registry-container.ts";

/** Removes those that carry this site's label, running or not. @returns their names @throws DrydockError "host" */
export async function removeContainers(engine: Engine, layout: SiteLayout): Promise<string[]> {
  const removed: string[] = [];
  for (const name of [nextName, previousName, containerName]) {
    const info = await inspectContainer(engine, name);
    if (info === undefined || !isOurs(info, layout)) continue;
    await removeContainer(engine, info.Id);
    removed.push(name);
  }
  return removed;
}
