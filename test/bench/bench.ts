/**
 * `npm run bench`: how long drydock takes, beside a plain copy and the ways that it replaces. The ways take
 * turns, so that a machine that grows slower is slow for all of them. It never fails for being slow.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { atEnd } from "../lab/at-end.ts";
import { Fixtures } from "./fixtures.ts";
import { checkRoom, describeMachine } from "./machine.ts";
import { type BenchOptions, readOptions, usage } from "./options.ts";
import { figuresOf, heading, machineText, type Row, table, verdicts } from "./report.ts";
import { trustFigures, trustTable, trustVerdicts } from "./trust/report.ts";
import { measureTrust } from "./trust/trust.ts";
import { verdictLines } from "./verdict.ts";
import { type Way, ways } from "./ways.ts";

const slowRuns = 3;

async function bench(options: BenchOptions, chosen: Way[]): Promise<void> {
  await checkRoom(options.folder, options.size);
  await inFolder(options, async (folder, parts) => {
    const machine = await describeMachine(folder);
    tell("making the content");
    const fixtures = await Fixtures.make(folder, options);
    parts.defer(() => fixtures.stop());
    const rows = await measureAll(fixtures, chosen, options.runs);
    const size = await fixtures.bundle();
    const figures = figuresOf(rows, size);
    const goals = verdicts(figures, size);
    const text = `${heading(options, machine)}\n\n${table(figures)}\n\n${verdictLines(goals)}`;
    console.log(options.json ? JSON.stringify({ machine, figures, goals }, null, 1) : text);
  });
}

async function benchTrust(options: BenchOptions): Promise<void> {
  await inFolder(options, async (folder, parts) => {
    const machine = await describeMachine(folder);
    const figures = trustFigures(await measureTrust(options, folder, parts, tell));
    const goals = trustVerdicts(figures);
    const text = `${machineText(machine)}\n\n${trustTable(figures)}\n\n${verdictLines(goals)}`;
    console.log(options.json ? JSON.stringify({ machine, figures, goals }, null, 1) : text);
  });
}

/** Gives `work` a new folder, and takes it away again with all that was started, also after a signal. */
async function inFolder(
  options: BenchOptions,
  work: (folder: string, parts: AsyncDisposableStack) => Promise<void>,
): Promise<void> {
  await mkdir(options.folder, { recursive: true });
  const parts = new AsyncDisposableStack();
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= parts.disposeAsync();
    return stopping;
  };
  const forget = atEnd(stop);
  try {
    const folder = await mkdtemp(join(options.folder, "drydock-bench-"));
    parts.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
    await work(folder, parts);
  } finally {
    forget();
    await stop();
  }
}

async function measureAll(fixtures: Fixtures, chosen: Way[], runs: number): Promise<Row[]> {
  for (const { title, needs } of chosen) {
    if (needs === undefined) continue;
    tell(`making what is read by: ${title}`);
    await needs(fixtures);
  }
  const measured = chosen.map((way) => {
    const rows = [way, ...(way.followedBy ?? [])].map(({ name, title }): Row => ({ name, title, runs: [] }));
    return { way, rows };
  });
  for (let round = 1; round <= runs; round++) {
    for (const { way, rows } of measured) {
      if (way.slow && round > slowRuns) continue;
      const found = [await way.run(fixtures)].flat();
      for (const [at, { title, runs: done }] of rows.entries()) {
        const one = found[at];
        if (one === undefined)
          throw new Error(`${way.name} measured ${found.length} of ${rows.length} things`);
        done.push(one);
        const of = way.slow ? Math.min(runs, slowRuns) : runs;
        tell(`run ${round} of ${of}: ${title}: ${one.seconds.toFixed(2)} s`);
      }
    }
  }
  return measured.flatMap(({ rows }) => rows);
}

/** cp is always among them: all others are compared to it. @throws Error for a name that is none */
function choose(only: string[]): Way[] {
  const unknown = only.find((name) => !ways.some((way) => way.name === name));
  if (unknown !== undefined)
    throw new Error(
      `--only ${unknown}: wanted one of ${ways.map(({ name }) => name).join(", ")}, or trust alone`,
    );
  return only.length === 0 ? ways : ways.filter(({ name }) => name === "cp" || only.includes(name));
}

function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

// What is stopped by a signal fails: that is then no news.
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.once(signal, () => {
    interrupted = true;
  });
try {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") console.log(usage);
  else if (options.only.join() === "trust") await benchTrust(options);
  else {
    const chosen = choose(options.only);
    await bench(options, chosen);
  }
} catch (error) {
  if (!interrupted) {
    tell(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
