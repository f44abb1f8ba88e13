/** What must be so before a prune removes anything: nothing is half done, and nobody else uses the storage. */
import { relative } from "node:path";
import { inspectContainer } from "../engine/container.ts";
import { type Engine, engineFailure } from "../engine/engine.ts";
import { DrydockError } from "../errors.ts";
import { readAdopted } from "../site/adopted.ts";
import { readInterrupted } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { nameOf } from "./history.ts";
import { checkContainer } from "./preflight-host.ts";
import { containerName, isOurs, nextName, previousName, siteLabel } from "./registry-container.ts";

/** @throws DrydockError "preflight" after an install or a rollback that was cut short */
export async function checkJournal(layout: SiteLayout): Promise<void> {
  const returning = (await readAdopted(layout))?.returningSince;
  if (returning !== undefined) {
    throw new DrydockError("preflight", "prune: giving back what was here before drydock was cut short", {
      hint: "Complete it: `drydock rollback`",
    });
  }
  const journal = await readInterrupted(layout);
  if (journal === undefined) return;
  const what = `the ${journal.action} ${journal.action === "rollback" ? "to" : "of"} ${nameOf(journal)}`;
  throw new DrydockError("preflight", `prune: ${what}, was cut short`, {
    hint: `${journal.command === undefined ? "Run its command again" : `\`${journal.command}\``} to complete it, or \`drydock rollback\` to undo an install; then prune.`,
  });
}

/** @throws DrydockError "preflight" if the engine doesn't answer, or somebody else's container is in the way */
export async function checkUse(engine: Engine, layout: SiteLayout): Promise<void> {
  await engine.describe();
  const finding = (await checkContainer(engine, layout)).find(({ level }) => level === "error");
  if (finding !== undefined)
    throw new DrydockError("preflight", `${finding.check}: ${finding.text}`, { hint: finding.hint });
  const other = await otherUser(engine, layout);
  if (other !== undefined) {
    throw new DrydockError("preflight", `prune: container "${other}" runs, and uses ${layout.storage}, too`, {
      hint: `It might go on serving what is removed. Stop it (docker stop ${other}), then try again.`,
    });
  }
}

/** The site's own containers, under each of the names that the step "run" gives them. */
export async function ourContainers(engine: Engine, layout: SiteLayout): Promise<string[]> {
  const names = await Promise.all(
    [nextName, previousName, containerName].map(async (name) => {
      const info = await inspectContainer(engine, name);
      return info !== undefined && isOurs(info, layout) ? [name] : [];
    }),
  );
  return names.flat();
}

/** A running container that is not this site's, with the storage mounted, or a folder above or in it. */
async function otherUser(engine: Engine, { root, storage }: SiteLayout): Promise<string | undefined> {
  const running = await engine.docker.listContainers().catch((error: unknown) => {
    throw engineFailure("list containers", error);
  });
  const found = running.find(
    ({ Labels, Mounts }) =>
      Labels?.[siteLabel] !== root &&
      (Mounts ?? []).some(({ Source }) => Source && (isIn(storage, Source) || isIn(Source, storage))),
  );
  return found && (found.Names[0] ?? found.Id).replace(/^\//, "");
}

function isIn(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== ".." && !way.startsWith("../");
}
