/** An action that failed: all that it changed is put back, and its error says so, and what to do next. */
import type { Engine } from "../engine/engine.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { readAdopted } from "../site/adopted.ts";
import { isComplete, type Journal, removeJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { currentRelease } from "../site/record.ts";
import { freeReserve } from "../site/reserve.ts";
import { putBackContainer, putBackState } from "./change.ts";
import { nameOf } from "./history.ts";
import { removeUnusedCertificates } from "./kept.ts";
import type { RunResult } from "./run.ts";

export interface Undo {
  engine: Engine;
  layout: SiteLayout;
  /** undefined if nothing but the container was to be changed */
  journal: Journal | undefined;
  /** undefined if the action failed before its own registry was seen serving; then the old one serves already */
  registry: RunResult | undefined;
  /** the command that tries again */
  again: string;
}

/** @returns the error to throw */
export async function undone(error: unknown, undo: Undo): Promise<unknown> {
  const { layout, journal, registry, again } = undo;
  if (journal !== undefined && (await isComplete(layout, journal).catch(() => false))) return error;
  const container = (await registry?.putBack()) ?? "";
  if (journal === undefined && container === "") return error;
  const failure = journal && (await putBack(undo, journal));
  if (!(error instanceof DrydockError)) return error;
  // What the system says comes with what to do about it.
  const own = registry === undefined || errorCode(error.cause) !== undefined ? error.hint : undefined;
  const next = own ?? `When that is mended, run the same command again: \`${again}\``;
  const [state, hint] =
    failure === undefined
      ? [await asItWas(layout).catch(() => "All is as it was before."), next]
      : [
          `Not all could be put back as it was: ${errorText(failure)}`,
          `${next}\nOr, to put back the rest: \`drydock rollback\``,
        ];
  return new DrydockError(error.kind, `${error.message}${container}\n${state}`, {
    hint,
    data: error.data,
    cause: error,
  });
}

/** @returns what came in between */
async function putBack({ engine, layout }: Undo, journal: Journal): Promise<unknown> {
  try {
    await freeReserve(layout);
    await putBackState(layout, journal);
    // An earlier try may have got further than this one, or somebody may have removed it.
    await putBackContainer(engine, layout);
    await removeJournal(layout);
    await removeUnusedCertificates(layout, journal);
    return undefined;
  } catch (failure) {
    return failure;
  }
}

async function asItWas(layout: SiteLayout): Promise<string> {
  const current = await currentRelease(layout);
  if (current !== undefined) return `All is as it was before: ${nameOf(current)}, is served.`;
  const adopted = (await readAdopted(layout))?.container !== undefined;
  return `All is as it was before: ${adopted ? "the registry that was here serves" : "nothing is served"}.`;
}
