/** What stays between two tries of the same bundle, and how it is told. */
import { basename } from "node:path";
import { journalOf, noteBeginning } from "../archive/journal.ts";
import { checkOutput, inBytes } from "../archive/output.ts";
import { discardAll, type EarlierTry, findEarlier, forgetBeginning, keptBytes } from "../archive/salvage.ts";
import { DrydockError } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import { createdTime } from "./created.ts";
import type { SealOptions } from "./seal.ts";

/**
 * What an earlier try of the same output left. Where there was none, the beginning of this one is noted: a build
 * that goes on is the same build, and has the time of its first try.
 * @param options.restart throws away what is there
 * @throws DrydockError "usage" if the output exists or cannot be one; then nothing is thrown away.
 */
export async function beginTry(
  output: string,
  { force, split, restart }: SealOptions & { restart: boolean },
  reporter: Reporter,
): Promise<EarlierTry> {
  const earlier = await findEarlier(output);
  await checkOutput(output, force, split);
  reporter.whenInterrupted(() => interruptedText(output));
  if (restart) await discardAll(output);
  else if (earlier) {
    const kept = await keptBytes(output);
    const there = kept === undefined ? "nothing of it is there yet" : `${inBytes(kept.bytes)} are there`;
    const created = createdTime(new Date(earlier.created));
    reporter.note(`going on with the try of ${created}: ${there}`);
    return { ...earlier, created };
  }
  const created = createdTime();
  await noteBeginning(journalOf(output), created);
  return { created };
}

/**
 * The error of a build that failed, with what is kept of it and how to go on: also where it failed in its plan, for
 * an image manifest that is fetched again is one pull more of those that a registry allows.
 */
export async function afterFailure(output: string, error: unknown): Promise<unknown> {
  const kept = await keptBytes(output);
  if (kept === undefined) await forgetBeginning(output);
  if (kept === undefined || !(error instanceof DrydockError)) return error;
  const { kind, message, data } = error;
  const goOn = `${keptText(kept)}; the same command goes on with it, with --restart it begins anew.`;
  const hint = error.hint === undefined ? goOn : `${error.hint}\n${goOn}`;
  return new DrydockError(kind, message, { hint, data, cause: error });
}

async function interruptedText(output: string): Promise<string> {
  const kept = await keptBytes(output);
  if (kept === undefined) return "Nothing was fetched yet; the same command begins again.";
  return `${keptText(kept)}; run the same command to continue, with --restart to begin anew.`;
}

function keptText({ bytes, file }: { bytes: number; file: string }): string {
  return `${inBytes(bytes)} are kept in ${JSON.stringify(basename(file))}`;
}
